"""Presses and menu choices: what is sent, and what a response URL can do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from typing import Any

import pytest
from slack_bolt import Ack, App, Respond
from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient

from sandbox.slack.limits import Rate
from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.block_kit import actions, button, multi, option, plain, section
from tests.sandbox.slack.conftest import Clock
from tests.support.slack_person import NotPossible, Person, buttons_of, options_of

Json = dict[str, Any]

SAY_ALL: Json = {"response_type": "in_channel", "replace_original": False, "delete_original": False}
SAY_ONE: Json = {"response_type": "ephemeral", "replace_original": False, "delete_original": False}
REPLACE: Json = {"response_type": "ephemeral", "replace_original": True, "delete_original": False}
DELETE: Json = {"response_type": "ephemeral", "replace_original": False, "delete_original": True}

MENU = multi(action_id="pick", placeholder=plain("Pick sessions"), options=[option("1", "one"), option("2", "two")])
CARD = [
    section(text=plain("What now?")),
    actions(MENU, button("close", text=plain("Close"), value="secret-id", style="danger")),
]


class Presses:
    """Acknowledges everything and keeps what came."""

    def __init__(self, app: App) -> None:
        self.bodies: list[Json] = []
        self.responds: list[Respond] = []
        app.action("close")(self._take)
        app.action("pick")(self._take)
        app.command("/sessions")(self._take)

    def _take(self, ack: Ack, body: Json, respond: Respond) -> None:
        self.bodies.append(body)
        self.responds.append(respond)
        ack()


@pytest.fixture
def presses(app: App) -> Presses:
    return Presses(app)


def url_of(presses: Presses) -> WebhookClient:
    return WebhookClient(presses.bodies[-1]["response_url"])


def test_a_press_sends_the_stored_value_and_the_state_of_all_menus(
    client: WebClient, presses: Presses, alice: Person, bob: Person
) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="card", blocks=CARD)["ts"]
    card = bob.wait_for_message("What now?")
    assert (buttons_of(card), options_of(card, "Pick sessions")) == (["Close"], ["one", "two"])
    bob.choose(card, "Pick sessions", ["two"])
    bob.press(card, "Close")
    choice, press = presses.bodies
    (chosen,), (pressed,) = choice["actions"], press["actions"]
    block_id = card["blocks"][1]["block_id"]
    assert [o["value"] for o in chosen["selected_options"]] == ["2"]
    assert (pressed["action_id"], pressed["value"], pressed["type"]) == ("close", "secret-id", "button")
    assert pressed["action_ts"] != chosen["action_ts"]
    for body in (choice, press):
        held = body["state"]["values"][block_id]["pick"]
        assert (held["type"], [o["value"] for o in held["selected_options"]]) == ("multi_static_select", ["2"])
    assert press["user"]["id"] == "U02BOB"
    assert press["user"]["team_id"] == "T01DEMO"
    assert press["channel"]["id"] == "C01INC"
    assert press["container"] == {
        "type": "message",
        "message_ts": ts,
        "channel_id": "C01INC",
        "is_ephemeral": False,
    }
    assert press["message"]["ts"] == ts
    assert press["message"]["blocks"][1]["block_id"] == block_id
    assert press["trigger_id"] != choice["trigger_id"]


def test_menus_nobody_touched_are_in_the_state_too(client: WebClient, presses: Presses, alice: Person) -> None:
    client.chat_postMessage(channel="C01INC", text="card", blocks=CARD)
    card = alice.wait_for_message("What now?")
    alice.press(card, "Close")
    (held,) = presses.bodies[0]["state"]["values"].values()
    assert held == {"pick": {"type": "multi_static_select", "selected_options": []}}


def test_a_press_on_an_ephemeral_message_does_not_show_the_message(
    client: WebClient, presses: Presses, alice: Person
) -> None:
    ts = client.chat_postEphemeral(channel="C01INC", user="U01ALICE", text="x", blocks=CARD)["message_ts"]
    alice.press(alice.wait_for_message("What now?"), "Close")
    (body,) = presses.bodies
    assert "message" not in body
    assert body["container"]["is_ephemeral"] is True
    assert body["container"]["message_ts"] == ts


def test_optional_fields_of_a_press_can_be_left_out(
    sandbox: SlackSandbox, client: WebClient, presses: Presses, alice: Person
) -> None:
    sandbox.faults.omit_optional_fields = True
    client.chat_postMessage(channel="C01INC", text="x", blocks=CARD)
    alice.press(alice.wait_for_message("What now?"), "Close")
    (body,) = presses.bodies
    assert body["user"] == {"id": "U01ALICE", "team_id": "T01DEMO"}
    assert "message" not in body
    assert body["container"]["message_ts"]


def test_a_stale_button_cannot_be_pressed(client: WebClient, presses: Presses, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="x", blocks=CARD)["ts"]
    card = alice.wait_for_message("What now?")
    client.chat_update(channel="C01INC", ts=ts, text="done", blocks=[section(text=plain("done"))])
    with pytest.raises(NotPossible, match="no_such_element"):
        alice.press(card, "Close")
    with pytest.raises(AssertionError, match="no button 'Close'"):
        alice.press(alice.wait_for_change(card, "done"), "Close")
    assert presses.bodies == []


def test_a_press_that_nobody_acknowledges_is_reported(hasty_sandbox: SlackSandbox) -> None:
    client = WebClient(token=hasty_sandbox.world.bot_token, base_url=hasty_sandbox.api_url)
    alice = Person(hasty_sandbox, "U01ALICE")
    client.chat_postMessage(channel="C01INC", text="x", blocks=CARD)
    with pytest.raises(NotPossible, match="operation_timeout"):
        alice.press(alice.wait_for_message("What now?"), "Close")


def test_two_people_can_press_at_once(client: WebClient, presses: Presses, alice: Person, bob: Person) -> None:
    client.chat_postMessage(channel="C01INC", text="x", blocks=CARD)
    cards = [(person, person.wait_for_message("What now?")) for person in (alice, bob)]
    threads = [threading.Thread(target=person.press, args=(card, "Close")) for person, card in cards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {body["user"]["id"] for body in presses.bodies} == {"U01ALICE", "U02BOB"}


def test_the_response_url_of_a_press_replaces_the_message_pressed(
    client: WebClient, presses: Presses, alice: Person, bob: Person
) -> None:
    client.chat_postMessage(channel="C01INC", text="x", blocks=CARD)
    card = alice.wait_for_message("What now?")
    alice.press(card, "Close")
    assert presses.responds[0](text="closed", **REPLACE).status_code == 200
    assert bob.wait_for_change(card, "closed")["blocks"] is None


def test_only_the_response_url_of_its_own_press_changes_an_ephemeral_message(
    client: WebClient, presses: Presses, alice: Person, bob: Person
) -> None:
    client.chat_postEphemeral(channel="C01INC", user="U01ALICE", text="x", blocks=CARD)
    card = alice.wait_for_message("What now?")
    alice.press(card, "Close")
    response = presses.responds[0](text="closed", **{**REPLACE, "response_type": "in_channel"})
    assert (response.status_code, response.body) == (200, "ok")
    assert alice.wait_for_change(card, "closed")["ephemeral"]
    assert bob.messages() == []
    presses.responds[0](**DELETE)
    alice.wait_until_gone(card)
    assert presses.responds[0](**DELETE).body == "message_not_found"


def test_a_reply_to_a_press_is_a_new_message_unless_it_replaces(
    client: WebClient, presses: Presses, alice: Person, bob: Person
) -> None:
    client.chat_postMessage(channel="C01INC", text="x", blocks=CARD)
    alice.press(alice.wait_for_message("What now?"), "Close")
    presses.responds[0](text="to you", **SAY_ONE)
    presses.responds[0](text="to all", **SAY_ALL)
    assert [m["text"] for m in bob.messages()] == ["x", "to all"]
    assert [m["text"] for m in alice.messages()] == ["x", "to you", "to all"]


def test_the_response_url_of_a_command_cannot_touch_the_line_typed(presses: Presses, alice: Person) -> None:
    alice.types("/sessions")
    presses.responds[0](text="first", **SAY_ONE)
    presses.responds[0](text="second", **REPLACE)
    assert presses.responds[0](**DELETE).status_code == 404
    assert [m["text"] for m in alice.messages()] == ["first", "second"]


def test_a_public_reply_to_a_command_shows_the_line_typed_once(presses: Presses, alice: Person, bob: Person) -> None:
    alice.types("/sessions tenant=shop")
    presses.responds[0](text="first", **SAY_ALL)
    presses.responds[0](text="second", **SAY_ALL)
    assert [m["text"] for m in bob.messages()] == ["/sessions tenant=shop", "first", "second"]


def test_a_response_url_works_five_times(presses: Presses, alice: Person) -> None:
    alice.types("/sessions")
    for _ in range(5):
        assert presses.responds[0](text="x", **SAY_ONE).status_code == 200
    response = presses.responds[0](text="x", **SAY_ONE)
    assert (response.status_code, response.body) == (404, "used_url")


def test_a_response_url_works_for_thirty_minutes(presses: Presses, alice: Person, clock: Clock) -> None:
    alice.types("/sessions")
    clock.ahead += 30 * 60 - 5
    assert presses.responds[0](text="x", **SAY_ONE).status_code == 200
    clock.ahead += 10
    response = presses.responds[0](text="x", **SAY_ONE)
    assert (response.status_code, response.body) == (404, "expired_url")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"blocks": [{"type": "nonsense"}]}, "invalid_blocks"),
        ({"text": ""}, "no_text"),
        ({"text": "x", "attachments": [{"text": "x"}]}, "invalid_attachments"),
    ],
)
def test_a_response_url_refuses_in_plain_text(presses: Presses, alice: Person, content: Json, error: str) -> None:
    alice.types("/sessions")
    response = url_of(presses).send_dict({**SAY_ONE, **content})
    assert (response.status_code, response.body) == (400, error)


def test_a_response_url_takes_json_only(presses: Presses, alice: Person) -> None:
    alice.types("/sessions")
    for data, kind in ((b"{", "application/json"), (b"[]", "application/json"), (b"x=1", "text/plain")):
        request = urllib.request.Request(presses.bodies[0]["response_url"], data, {"Content-Type": kind})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request)
        with refusal.value as error:
            assert (error.code, error.read()) == (400, b"invalid_payload")


def test_a_response_url_nobody_issued_does_not_exist(sandbox: SlackSandbox) -> None:
    response = WebhookClient(sandbox.base_url + "/actions/x/y").send(text="x")
    assert (response.status_code, response.body) == (404, "no_service")


def test_response_urls_are_limited(sandbox: SlackSandbox, presses: Presses, alice: Person) -> None:
    sandbox.limits.rates["response_url"] = Rate(60, 1, per="channel")
    alice.types("/sessions")
    assert presses.responds[0](text="x", **SAY_ONE).status_code == 200
    response = presses.responds[0](text="x", **SAY_ONE)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")


def test_a_response_url_can_be_made_to_fail(sandbox: SlackSandbox, presses: Presses, alice: Person) -> None:
    sandbox.faults.fail_next("response_url", status=500, error="server_error")
    alice.types("/sessions")
    assert presses.responds[0](text="x", **SAY_ONE).status_code == 500
    assert presses.responds[0](text="x", **SAY_ONE).status_code == 200
    assert [call.status for call in sandbox.calls.of("response_url")] == [500, 200]
