"""Modals: trigger ids, stacks, updates, submissions and closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from slack_bolt import Ack, App
from slack_sdk import WebClient

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.block_kit import actions, button, field, modal, option, plain, section, select, writing
from tests.sandbox.slack.conftest import Clock
from tests.sandbox.slack.test_web_api import error_of
from tests.support.slack_person import NotPossible, Person, text_of

Json = dict[str, Any]

SHOW = modal(section(text=plain("select 1")), actions(button("more", text=plain("More"))))
ASK = modal(
    field(writing(action_id="why", max_length=20), label=plain("Reason"), block_id="reason"),
    field(select(options=[option("q", "Query"), option("s", "Session")]), label=plain("Mode"), optional=True),
    submit=plain("Send"),
    callback_id="ask",
    private_metadata="kept",
)


def titled(title: str, **more: Any) -> Json:
    return {**SHOW, "title": plain(title), **more}


class Triggers:
    """An app that acknowledges and keeps the trigger ids it was given."""

    def __init__(self, app: App) -> None:
        self.ids: list[str] = []
        self.bodies: list[Json] = []
        app.command("/sessions")(self._take)
        app.action("more")(self._take)

    def _take(self, ack: Ack, body: Json) -> None:
        self.ids.append(body["trigger_id"])
        self.bodies.append(body)
        ack()


@pytest.fixture
def triggers(app: App) -> Triggers:
    return Triggers(app)


@pytest.fixture
def trigger(triggers: Triggers, alice: Person) -> Callable[[], str]:
    """Have Alice run a command and return its trigger id."""

    def run() -> str:
        alice.types("/sessions")
        return triggers.ids[-1]

    return run


def test_a_modal_opens_for_the_person_who_caused_it_alone(
    client: WebClient, trigger: Callable[[], str], alice: Person, bob: Person
) -> None:
    view = client.views_open(trigger_id=trigger(), view=SHOW)["view"]
    assert alice.wait_for_modal("select 1")["id"] == view["id"]
    assert (view["root_view_id"], view["previous_view_id"], view["state"]) == (view["id"], None, {"values": {}})
    assert bob.modal() is None
    assert "private_metadata" not in (alice.modal() or {})


def test_a_trigger_id_works_once_and_for_three_seconds(
    client: WebClient, trigger: Callable[[], str], clock: Clock
) -> None:
    used, old = trigger(), trigger()
    client.views_open(trigger_id=used, view=SHOW)
    assert error_of(client.views_open, trigger_id=used, view=SHOW)["error"] == "exchanged_trigger_id"
    clock.ahead += 3.5
    assert error_of(client.views_open, trigger_id=old, view=SHOW)["error"] == "expired_trigger_id"
    assert error_of(client.views_open, trigger_id="1.2.abc", view=SHOW)["error"] == "invalid_trigger_id"


def test_an_unacceptable_modal_is_refused_with_its_place(client: WebClient, trigger: Callable[[], str]) -> None:
    answer = error_of(client.views_open, trigger_id=trigger(), view=titled("x" * 25))
    assert answer["error"] == "invalid_arguments"
    assert answer["response_metadata"]["messages"] == [
        "[ERROR] must be less than 25 characters [json-pointer:/view/title/text]"
    ]


def test_three_modals_may_stand_on_each_other(
    client: WebClient, trigger: Callable[[], str], triggers: Triggers, alice: Person
) -> None:
    first = client.views_open(trigger_id=trigger(), view=titled("one"))["view"]
    for title in ("two", "three", "four"):
        alice.press(alice.wait_for_modal(), "More")
        if title == "four":
            answer = error_of(client.views_push, trigger_id=triggers.ids[-1], view=titled(title))
            assert answer["error"] == "push_limit_reached"
        else:
            pushed = client.views_push(trigger_id=triggers.ids[-1], view=titled(title))["view"]
            assert pushed["root_view_id"] == first["id"]
    assert [view["title"]["text"] for view in alice.modals()] == ["one", "two", "three"]


def test_a_push_needs_a_trigger_from_inside_a_modal(client: WebClient, trigger: Callable[[], str]) -> None:
    assert error_of(client.views_push, trigger_id=trigger(), view=SHOW)["error"] == "not_found"


def test_an_update_needs_an_open_modal_and_its_latest_hash(
    client: WebClient, trigger: Callable[[], str], alice: Person
) -> None:
    view = client.views_open(trigger_id=trigger(), view=titled("one", external_id="mine"))["view"]
    update = client.views_update
    changed = update(view_id=view["id"], hash=view["hash"], view=titled("two"))["view"]
    answer = error_of(update, view_id=view["id"], hash=view["hash"], view=titled("three"))
    assert answer["error"] == "hash_conflict"
    assert alice.wait_for_modal("two")["hash"] == changed["hash"] != view["hash"]
    alice.closes_modal()
    assert error_of(update, view_id=view["id"], view=titled("four"))["error"] == "not_found"
    assert error_of(update, external_id="mine", view=titled("four"))["error"] == "not_found"


def test_an_external_id_can_be_in_use_once(client: WebClient, trigger: Callable[[], str], alice: Person) -> None:
    client.views_open(trigger_id=trigger(), view=titled("one", external_id="mine"))
    answer = error_of(client.views_open, trigger_id=trigger(), view=titled("two", external_id="mine"))
    assert answer["error"] == "duplicate_external_id"
    client.views_update(external_id="mine", view=titled("three", external_id="mine"))
    alice.wait_for_modal("three")


def test_a_press_in_a_modal_sends_the_view_and_no_response_url(
    client: WebClient, trigger: Callable[[], str], triggers: Triggers, alice: Person
) -> None:
    view = client.views_open(trigger_id=trigger(), view={**SHOW, "private_metadata": "kept"})["view"]
    alice.press(alice.wait_for_modal(), "More")
    body = triggers.bodies[-1]
    assert body["container"] == {"type": "view", "view_id": view["id"]}
    assert (body["view"]["private_metadata"], body["view"]["hash"]) == ("kept", view["hash"])
    assert "response_url" not in body
    assert "message" not in body


def submissions(app: App, **answer: Any) -> list[Json]:
    """Answer submissions of ASK like this, and keep them."""
    seen: list[Json] = []

    @app.view("ask")
    def _(ack: Ack, body: Json) -> None:
        seen.append(body)
        ack(**answer)

    return seen


def test_a_submission_carries_what_was_filled_in_and_closes_the_modal(
    app: App, client: WebClient, trigger: Callable[[], str], alice: Person
) -> None:
    seen = submissions(app)
    client.views_open(trigger_id=trigger(), view=ASK)
    view = alice.wait_for_modal("Reason")
    alice.fill_in(view, "Reason", "too slow")
    alice.choose(view, "Mode", ["Query"])
    assert alice.submit() == {}
    assert alice.modal() is None
    (body,) = seen
    assert body["view"]["private_metadata"] == "kept"
    assert body["view"]["state"]["values"]["reason"]["why"] == {"type": "plain_text_input", "value": "too slow"}
    mode = body["view"]["state"]["values"][view["blocks"][1]["block_id"]]["a"]
    assert mode["selected_option"]["value"] == "q"
    assert "trigger_id" in body


@pytest.mark.parametrize(
    ("text", "error"),
    [("", "Please complete this required field."), ("x" * 21, "Please write at most 20 characters.")],
)
def test_slack_itself_checks_inputs_before_it_sends_them(
    app: App, client: WebClient, trigger: Callable[[], str], alice: Person, text: str, error: str
) -> None:
    seen = submissions(app)
    client.views_open(trigger_id=trigger(), view=ASK)
    alice.fill_in(alice.wait_for_modal(), "Reason", text)
    assert alice.submit() == {"reason": error}
    assert seen == []


def test_the_app_can_object_to_a_field(app: App, client: WebClient, trigger: Callable[[], str], alice: Person) -> None:
    submissions(app, response_action="errors", errors={"reason": "say more"})
    client.views_open(trigger_id=trigger(), view=ASK)
    alice.fill_in(alice.wait_for_modal(), "Reason", "x")
    assert alice.submit() == {"reason": "say more"}
    assert alice.modal() is not None


@pytest.mark.parametrize(
    ("answer", "open_after"),
    [
        ({"response_action": "clear"}, []),
        ({"response_action": "update", "view": titled("new")}, ["new"]),
        ({"response_action": "push", "view": titled("new")}, ["x", "new"]),
    ],
)
def test_the_app_can_clear_update_or_push_after_a_submission(
    app: App, client: WebClient, trigger: Callable[[], str], alice: Person, answer: Json, open_after: list[str]
) -> None:
    submissions(app, **answer)
    client.views_open(trigger_id=trigger(), view=ASK)
    alice.fill_in(alice.wait_for_modal(), "Reason", "x")
    assert alice.submit() == {}
    assert [view["title"]["text"] for view in alice.modals()] == open_after


@pytest.mark.parametrize(
    "answer",
    [
        {"response_action": "errors", "errors": {"nonsense": "x"}},
        {"response_action": "errors", "errors": {}},
        {"response_action": "update", "view": titled("x" * 25)},
        {"response_action": "explode"},
    ],
)
def test_an_answer_to_a_submission_that_slack_cannot_use_is_trouble(
    sandbox: SlackSandbox, app: App, client: WebClient, trigger: Callable[[], str], alice: Person, answer: Json
) -> None:
    @app.view("ask")
    def _(ack: Ack) -> None:
        ack(answer)  # as a careless app would

    client.views_open(trigger_id=trigger(), view=ASK)
    alice.fill_in(alice.wait_for_modal(), "Reason", "x")
    with pytest.raises(NotPossible, match="trouble"):
        alice.submit()
    assert "error" in sandbox.calls.of("ack")[-1].answer
    assert alice.modal() is not None


def test_closing_tells_an_app_that_asked(
    app: App, client: WebClient, trigger: Callable[[], str], alice: Person
) -> None:
    seen: list[Json] = []

    @app.view_closed("bye")
    def _(ack: Ack, body: Json) -> None:
        seen.append(body)
        ack()

    client.views_open(trigger_id=trigger(), view=titled("x", callback_id="bye", notify_on_close=True))
    alice.closes_modal()
    assert alice.modal() is None
    (body,) = seen
    assert (body["type"], body["is_cleared"], body["view"]["callback_id"]) == ("view_closed", False, "bye")
    client.views_open(trigger_id=trigger(), view=titled("x", callback_id="bye"))
    alice.closes_modal()
    assert len(seen) == 1


def test_only_the_modal_on_top_can_be_used(
    client: WebClient, trigger: Callable[[], str], triggers: Triggers, alice: Person
) -> None:
    client.views_open(trigger_id=trigger(), view=titled("below"))
    below = alice.wait_for_modal("below")
    alice.press(below, "More")
    client.views_push(trigger_id=triggers.ids[-1], view=titled("above"))
    with pytest.raises(NotPossible, match="not_on_top"):
        alice.press(below, "More")
    assert text_of(alice.modal()) == "above\nselect 1\n[More]"
