"""The app with a real socket to the strict sandbox: acknowledgements, places in the queue, the last net."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from slack_bolt import BoltRequest
from slack_bolt.adapter.socket_mode import SocketModeHandler

from bot.app import Identity, SessionBot
from bot.errors import DataSourceError, InputError
from bot.slack.client import Client
from bot.slack.delivery.message import Message
from bot.slack.delivery.replies import Reply
from bot.slack.events import Command
from bot.slack.views.notices import notice
from sandbox.slack.server import SlackSandbox
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS
from tests.support.slack_person import Person, text_of

Connect = Callable[[Callable[[SessionBot], None]], Person]
Run = Callable[[Callable[[Command], None]], Person]


@pytest.fixture
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=COMMANDS) as running:
        running.limits.rates.clear()
        yield running


@pytest.fixture
def connect(slack: SlackSandbox) -> Iterator[Connect]:
    """Give a function that connects an app with what the test announces."""
    stops: list[Callable[[], object]] = []

    def start(announce: Callable[[SessionBot], None]) -> Person:
        client = Client(slack.world.bot_token, slack.api_url)
        bot = SessionBot(client, Identity.read(client))
        bot.register([announce])
        socket = SocketModeHandler(bot.bolt, slack.world.app_token)
        socket.connect()  # type: ignore[no-untyped-call]  # so in Bolt's types
        slack.wait_for(lambda: slack.connections)
        stops.append(socket.close)
        stops.append(bot.stop)
        stops.append(client.close)
        return Person(slack, "U01ALICE")

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def run(connect: Connect) -> Run:
    """Give a function that connects an app whose /sessions does what the test says."""
    return lambda handler: connect(lambda to: to.command("/sessions", handler))


def test_an_exception_nobody_expected_is_told_with_an_id_and_the_app_goes_on(
    run: Run, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: Command) -> None:
        if command.text == "fail":
            raise ZeroDivisionError("a secret detail")
        command.reply.private(notice("all is well"))

    with caplog.at_level(logging.CRITICAL):
        alice = run(fail)
        alice.types("/sessions fail")
        told = alice.wait_for_message("Something went wrong inside the bot")
        assert "a secret detail" not in text_of(told)
        error_id = text_of(told).split("error id ")[1].split()[0]
        logged: list[str] = []

        def has_id() -> bool:
            logged.append(capsys.readouterr().out)
            return error_id in "".join(logged)

        alice.sandbox.wait_for(has_id, what="the line of the log")
        alice.types("/sessions")
        alice.wait_for_message("all is well")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DataSourceError("Data source prod is away. Try again."), "Data source prod is away. Try again."),
        (InputError("“x” is no id.", spot="x", example="/sessions id=5"), "For example: /sessions id=5"),
    ],
)
def test_an_error_of_ours_is_told_in_its_own_sentence(run: Run, error: Exception, sentence: str) -> None:
    def fail(_command: Command) -> None:
        raise error

    alice = run(fail)
    alice.types("/sessions x")
    told = alice.wait_for_message(sentence)
    assert told["ephemeral"]
    assert "Error id " in text_of(told)


def test_fifty_commands_at_once_are_acknowledged_while_every_worker_is_stuck(run: Run) -> None:
    release = threading.Event()

    def stuck(command: Command) -> None:
        release.wait(PATIENCE)
        command.reply.private(notice(f"done {command.text}"))

    alice = run(stuck)
    with ThreadPoolExecutor(50) as people:
        list(people.map(lambda number: alice.types(f"/sessions {number}"), range(50)))
    assert not [message for message in alice.messages() if "operation_timeout" in text_of(message)]
    release.set()
    alice.sandbox.wait_for(lambda: sum("done" in text_of(message) for message in alice.messages()) == 50)


def test_somebody_who_waits_for_more_than_two_seconds_hears_that_it_goes_on(run: Run) -> None:
    told = threading.Event()

    def slow(command: Command) -> None:
        told.wait(PATIENCE)
        command.reply.private(notice("the answer"))

    alice = run(slow)
    alice.types("/sessions")
    alice.wait_for_message("Still waiting for the database")
    told.set()
    alice.wait_for_message("the answer")


def test_a_command_that_finds_no_place_in_the_queue_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.workers.THREADS", 1)
    monkeypatch.setattr("bot.workers.QUEUE", 1)
    release = threading.Event()

    def stuck(_command: Command) -> None:
        release.wait(PATIENCE)

    alice = run(stuck)
    for _ in range(3):
        alice.types("/sessions")
    alice.wait_for_message("The bot has too much to do at this moment. Nothing was done.")
    release.set()


@pytest.mark.parametrize("why", ["is being restarted", "has too much to do"])
def test_a_press_that_is_turned_away_is_acknowledged_before_slack_has_taken_what_is_told_of_it(
    slack: SlackSandbox, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """The acknowledgement of a press carries no text; the answer is another call, which Slack may be slow to take."""
    let, told = threading.Event(), []

    def private(_reply: Reply, message: Message) -> bool:
        let.wait(PATIENCE)
        told.append(message.text)
        return True

    monkeypatch.setattr(Reply, "private", private)
    press = {
        "type": "block_actions",
        "user": {"id": "U01ALICE", "team_id": "T01DEMO"},
        "trigger_id": "1.2",
        "actions": [{"type": "button", "action_id": "one", "block_id": "b"}],
    }
    with Client(slack.world.bot_token, slack.api_url) as client:
        bot = SessionBot(client, Identity.read(client))
        bot.register([lambda bot: bot.press("one", lambda _press: None)])
        if why == "is being restarted":
            bot._workers.stop()
        else:
            monkeypatch.setattr("bot.workers.THREADS", 0)
            monkeypatch.setattr("bot.workers.QUEUE", 0)
        assert bot.bolt.dispatch(BoltRequest(body=press, mode="socket_mode")).status == 200
        assert not told
        let.set()
        bot.stop()
    assert [why in text for text in told] == [True]


def test_a_dialog_that_finds_no_place_in_the_queue_stays_open_and_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.workers.THREADS", 1)
    monkeypatch.setattr("bot.workers.QUEUE", 0)
    release = threading.Event()

    def opens_and_sticks(command: Command) -> None:
        command.reply.open_modal(command.trigger_id, _dialog(command.channel), "Close")
        release.wait(PATIENCE)

    alice = run(opens_and_sticks)
    alice.types("/sessions")
    alice.fill_in(alice.wait_for_modal("How many"), "closing.number", "6")
    assert alice.submit() == {
        "closing.number_block": "The bot has too much to do at this moment. Nothing was done. "
        "Try again in a few seconds."
    }
    release.set()
    alice.sandbox.wait_for(lambda: alice.submit() == {} and alice.modal() is None, what="the dialog to be taken")
    alice.wait_for_message("does not know that command or button")


def test_a_command_nobody_registered_is_answered(run: Run) -> None:
    alice = run(lambda _command: None)
    alice.types("/kill-session 5")
    alice.wait_for_message("does not know that command")


def test_only_the_home_tab_counts_as_opened_and_not_the_conversation_with_the_bot(slack: SlackSandbox) -> None:
    client = Client(slack.world.bot_token, slack.api_url)
    bot = SessionBot(client, Identity.read(client))
    opened: list[str] = []
    bot.register([lambda to: to.home(lambda home: opened.append(home.person.id))])
    for number, tab in enumerate(("messages", "home")):
        event = {"type": "app_home_opened", "user": "U01ALICE", "channel": "D01", "tab": tab}
        body = {"type": "event_callback", "team_id": "T01", "event_id": f"Ev{number}", "event": event}
        assert bot.bolt.dispatch(BoltRequest(mode="socket_mode", body=body)).status == 200
    slack.wait_for(lambda: opened)
    bot.stop()
    client.close()
    assert opened == ["U01ALICE"]


def _dialog(channel: str) -> dict[str, object]:
    field = {"type": "plain_text_input", "action_id": "closing.number"}
    label = {"type": "plain_text", "text": "How many?"}
    block = {"type": "input", "block_id": "closing.number_block", "label": label, "element": field}
    words = {name: {"type": "plain_text", "text": name} for name in ("title", "submit", "close")}
    metadata = {"private_metadata": json.dumps({"channel": channel})}
    return {"type": "modal", "callback_id": "nobodys", "blocks": [block], **words, **metadata}
