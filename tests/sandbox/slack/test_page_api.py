"""The page API: what a person can see and do, and who may ask."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from slack_sdk import WebClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.block_kit import actions, button, multi, option, section, select
from tests.sandbox.slack.test_presses import CARD
from tests.support.patience import PATIENCE
from tests.support.slack_person import NotPossible, Person, table_of, text_of

Json = dict[str, Any]


def ask(sandbox: SlackSandbox, path: str, body: Any = None, **headers: str) -> tuple[int, Json]:
    """Return status and JSON answer of a request to the page API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(sandbox.page_url + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else {"text": text}


def test_the_world_is_described(sandbox: SlackSandbox) -> None:
    _, world = ask(sandbox, "page/world")
    assert world["team"] == {"id": "T01DEMO", "name": "OceanBase on-call"}
    assert [p["name"] for p in world["people"]] == ["Alice Ng", "Bob Ortiz", "Gus Weber"]
    assert [p["is_guest"] for p in world["people"]] == [False, False, True]
    assert [(c["name"], c["is_private"]) for c in world["channels"]] == [
        ("incident", False),
        ("dba", True),
        ("general", False),
    ]
    assert world["commands"][0] == {
        "command": "/sessions",
        "description": "List sessions",
        "usage_hint": "[filter]",
    }
    assert world["bot"] == {"id": "B0SESSIONBOT", "user_id": "U0SESSIONBOT", "name": "session-bot"}


def test_a_person_sees_their_own_channels(sandbox: SlackSandbox) -> None:
    _, state = ask(sandbox, "page/state?as=U03GUS")
    assert [c["id"] for c in state["channels"]] == ["C01INC", "C03GENERAL"]
    assert state["messages"] == {"C01INC": [], "C03GENERAL": []}
    assert state["views"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("page/state?as=U9", None, 404, "no_such_person"),
        ("page/post", {"as": "U9", "channel": "C01INC", "text": "x"}, 404, "no_such_person"),
        ("page/post", {"as": "U03GUS", "channel": "C02DBA", "text": "x"}, 404, "no_such_channel"),
        ("page/post", {"as": "U03GUS", "channel": "C01INC", "text": " "}, 400, "no_text"),
        ("page/post", {"as": "U03GUS", "channel": "C01INC"}, 400, "bad_request"),
        ("page/act", {"as": "U03GUS", "channel": "C01INC", "message_key": "1"}, 404, "no_such_message"),
        ("page/submit", {"as": "U03GUS", "view_id": "V1"}, 404, "no_such_view"),
        ("page/close", {"as": "U03GUS", "view_id": "V1"}, 404, "no_such_view"),
        ("page/close", [], 400, "bad_request"),
    ],
)
def test_what_a_person_cannot_do_is_refused_with_a_sentence(
    sandbox: SlackSandbox, path: str, body: Any, status: int, error: str
) -> None:
    got, answer = ask(sandbox, path, body)
    assert (got, answer["ok"], answer["error"]) == (status, False, error)
    assert answer["message"]


def test_nobody_presses_on_a_message_they_do_not_see(sandbox: SlackSandbox, client: WebClient, alice: Person) -> None:
    client.chat_postEphemeral(channel="C01INC", user="U01ALICE", text="x", blocks=CARD)
    card = alice.wait_for_message("What now?")
    with pytest.raises(NotPossible, match="no_such_message"):
        Person(sandbox, "U02BOB").press(card, "Close")


def test_only_options_of_the_menu_can_be_chosen(sandbox: SlackSandbox, client: WebClient, alice: Person) -> None:
    menus = [actions(select()), actions(multi(options=[option("1"), option("2")], max_selected_items=1))]
    client.chat_postMessage(channel="C01INC", text="x", blocks=menus)
    message = alice.messages()[0]
    one, many = (block["block_id"] for block in message["blocks"])
    base = {"as": "U01ALICE", "channel": "C01INC", "message_key": message["key"], "action_id": "a"}
    bad = {"selected_option": option("other")}
    assert ask(sandbox, "page/act", {**base, "block_id": one, **bad})[1]["error"] == "no_such_option"
    state = {"state": {one: {"a": bad}}}
    assert ask(sandbox, "page/act", {**base, "block_id": many, **state})[1]["error"] == "no_such_option"
    both = {"selected_options": [option("1"), option("2")]}
    assert ask(sandbox, "page/act", {**base, "block_id": many, **both})[1]["error"] == "too_many_options"
    wrong = {"state": {one: "x"}}
    assert ask(sandbox, "page/act", {**base, "block_id": many, **wrong})[1]["error"] == "bad_request"


def test_a_page_hears_of_what_its_person_sees(sandbox: SlackSandbox, client: WebClient) -> None:
    url = sandbox.base_url.replace("http", "ws") + "/page/ws?as="
    with connect(url + "U01ALICE", proxy=None) as alices, connect(url + "U03GUS", proxy=None) as guss:
        client.chat_postMessage(channel="C02DBA", text="not for guests")
        client.chat_postEphemeral(channel="C01INC", user="U03GUS", text="for a guest")
        ts = client.chat_postMessage(channel="C01INC", text="for all")["ts"]
        client.chat_delete(channel="C01INC", ts=ts)
        heard = [[json.loads(socket.recv(timeout=PATIENCE)) for _ in range(3)] for socket in (alices, guss)]
    texts = [[event.get("message", {}).get("text") for event in events] for events in heard]
    assert texts == [["not for guests", "for all", None], ["for a guest", "for all", None]]
    assert heard[0][2] == {"type": "message_deleted", "channel": "C01INC", "key": ts}


def test_a_page_of_nobody_hears_nothing(sandbox: SlackSandbox) -> None:
    url = sandbox.base_url.replace("http", "ws") + "/page/ws?as=U9"
    with pytest.raises(InvalidStatus, match="403"), connect(url, proxy=None):
        pass


@pytest.mark.parametrize("origin", ["https://example.com", "null", "http://127.0.0.1:1"])
def test_other_sites_cannot_drive_the_page_api(sandbox: SlackSandbox, alice: Person, origin: str) -> None:
    body = {"as": "U01ALICE", "channel": "C01INC", "text": "x"}
    assert ask(sandbox, "page/post", body, Origin=origin)[0] == 403
    assert ask(sandbox, "page/state?as=U01ALICE", Origin=origin)[0] == 403
    url = sandbox.base_url.replace("http", "ws") + "/page/ws?as=U01ALICE"
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(url, proxy=None, origin=Origin(origin)),
    ):
        pass
    assert alice.messages() == []


def test_the_pages_own_origin_and_no_other_host_name_will_do(sandbox: SlackSandbox, alice: Person) -> None:
    body = {"as": "U01ALICE", "channel": "C01INC", "text": "x"}
    assert ask(sandbox, "page/post", body, Origin=sandbox.base_url)[0] == 200
    assert ask(sandbox, "page/post", body, Host="rebound.example.com")[0] == 403
    assert ask(sandbox, "page/post", body, **{"Content-Type": "text/plain"})[0] == 415
    assert len(alice.messages()) == 1


@pytest.mark.parametrize(
    ("path", "kind"), [("", "text/html"), ("static/page.js", "javascript"), ("static/page.css", "text/css")]
)
def test_the_page_is_served_with_its_type_and_a_strict_policy(sandbox: SlackSandbox, path: str, kind: str) -> None:
    with urllib.request.urlopen(sandbox.page_url + path) as response:
        assert kind in response.headers["Content-Type"]
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'; connect-src 'self' ws:")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_taken_port_is_an_os_error(sandbox: SlackSandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        SlackSandbox(port=sandbox.port).start()


def test_a_stopped_sandbox_can_be_started_again_on_its_port() -> None:
    first = SlackSandbox()
    first.start()
    first.stop()
    with SlackSandbox(port=first.port) as second:
        assert ask(second, "page/world")[0] == 200


def test_waiting_in_vain_says_for_what(sandbox: SlackSandbox, alice: Person) -> None:
    with pytest.raises(TimeoutError, match="a miracle did not come true"):
        sandbox.wait_for(lambda: False, 0.05, "a miracle")
    alice.types("hello")
    with pytest.raises(AssertionError, match=r"did not see 'bye' in 0.05 s, but:\nhello"):
        alice.wait_for_message("bye", timeout=0.05)


def test_what_is_shown_reads_as_text(client: WebClient, alice: Person) -> None:
    rows = [[{"type": "raw_text", "text": text} for text in row] for row in (("ID", "User"), ("7", "root"))]
    code = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "select 1"}]}
    blocks = [
        section(fields=[{"type": "mrkdwn", "text": "*a*"}, {"type": "mrkdwn", "text": "b"}], accessory=button()),
        {"type": "table", "rows": rows},
        {"type": "rich_text", "elements": [code]},
        actions(select(placeholder={"type": "plain_text", "text": "Pick"})),
        {"type": "divider"},
    ]
    client.chat_postMessage(channel="C01INC", text="fallback", blocks=blocks)
    message = alice.wait_for_message("root")
    assert text_of(message) == "*a*\nb\n[x]\nID | User\n7 | root\nselect 1\n<Pick, x>"
    assert table_of(message) == [["ID", "User"], ["7", "root"]]
