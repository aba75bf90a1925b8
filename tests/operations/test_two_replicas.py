"""Two replicas on one store, to both of which Slack delivers the same thing in the same moment: one answer."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pymysql
import pytest

from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.faults.races import HASTY, shared_store
from tests.support.http_bot import HttpBot, Web, free_port, request_url, signed
from tests.support.relay import Relay
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json, is_progress
from tests.support.stage import ASKS, Stage, session_id, staged

_triggers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Replicas:
    """A stage whose bot is one of two; ``line`` is what the first one reaches the data source by."""

    stage: Stage
    bots: tuple[HttpBot, HttpBot]
    line: Relay
    store: EmbeddedServer
    schema: str

    def delivers_to_both(self) -> contextlib.AbstractContextManager[None]:
        """Deliver everything to both of them as long as the block."""
        return delivered_twice(self.stage, request_url(self.bots[1].web))

    def answered(self, what: str) -> float:
        """How many such things the two have answered or left to each other."""
        return sum(bot.web.metric("session_bot_command_seconds_count", what=what) for bot in self.bots)

    def waits_for_both(self, what: str, before: float, times: int = 1) -> None:
        """Wait until both have come to an end with what was delivered to them since."""
        self.stage.slack.wait_for(lambda: self.answered(what) >= before + 2 * times, what=f"{what} on both")

    def told(self, text: str = "") -> list[Json]:
        """Return the messages of the bot that say this, but for those that an answer is still waited for."""
        bots = [one for one in self.stage.alice.messages() if one["is_bot"] and not is_progress(one)]
        return [one for one in bots if text in text_of(one)]

    def stored(self, query: str) -> object:
        """Ask the store for one value."""
        with self.store.connect(database=self.schema) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return (cursor.fetchone() or (None,))[0]


@contextlib.contextmanager
def delivered_twice(stage: Stage, copies_to: str) -> Iterator[None]:
    stage.slack.faults.copies_to, stage.slack.faults.deliver_twice = copies_to, True
    try:
        yield
    finally:
        stage.slack.faults.deliver_twice = False


@pytest.fixture(scope="module", params=["mariadb"])
def standing(
    request: pytest.FixtureRequest, oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """Give two replicas in HTTP mode, which take over from each other after 6 s."""
    server = request.getfixturevalue(request.param)
    url = shared_store(server)
    webs = Web(free_port()), Web(free_port())
    folders = [tmp_path_factory.mktemp("replica") for _ in webs]
    more: dict[str, Any] = {"store": url, "command": HASTY}
    with (
        Relay(oceanbase.port) as line,
        staged(
            oceanbase, folders[0], bot=HttpBot, request_url=request_url(webs[0]), web=webs[0], port=line.port, **more
        ) as stage,
        HttpBot(stage.slack, oceanbase, folders[1], webs[1], **more) as other,
    ):
        assert isinstance(stage.bot, HttpBot)
        yield Replicas(stage, (stage.bot, other), line, server, url.rpartition("/")[2])


@pytest.fixture
def replicas(standing: Replicas) -> Iterator[Replicas]:
    yield standing
    standing.stage.tidy()


def is_closed(card: Json) -> bool:
    return "closed" in text_of(card) and not buttons_of(card)


def test_a_command_puts_one_card_into_the_channel(replicas: Replicas) -> None:
    stage, before = replicas.stage, replicas.answered("/kill-session")
    sleepers = [session_id(stage.connect()) for _ in range(5)]
    with replicas.delivers_to_both():
        for sleeper in sleepers:
            stage.alice.types(f"/kill-session {sleeper}")
    replicas.waits_for_both("/kill-session", before, len(sleepers))
    cards = replicas.told(ASKS)
    assert [sum(str(sleeper) in text_of(card) for card in cards) for sleeper in sleepers] == [1] * 5
    assert len(replicas.told()) == 5, "nothing else is told"
    requests = replicas.stored(f"SELECT COUNT(*) FROM closing_targets WHERE session LIKE '%\"id\": {sleepers[0]},%'")
    assert requests == 1


def test_what_is_wrong_with_a_command_is_told_once_and_help_by_whoever_is_asked(replicas: Replicas) -> None:
    stage, before = replicas.stage, replicas.answered("/kill-session")
    with replicas.delivers_to_both():
        stage.alice.types("/kill-session nonsense")
    replicas.waits_for_both("/kill-session", before)
    assert len(replicas.told()) == 1
    with locked(replicas):  # nobody can write to the store
        stage.asks(stage.alice, "/kill-session help", "/kill-session ID")
        stage.asks(stage.alice, "/sessions", "Sessions on demo")


@contextlib.contextmanager
def locked(replicas: Replicas) -> Iterator[None]:
    """Let somebody else hold what every writer of the store waits for."""
    other: pymysql.Connection[pymysql.cursors.Cursor] = replicas.store.connect(database=replicas.schema)
    with other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM audit_head FOR UPDATE")
        yield


def test_the_buttons_under_a_list_put_one_card_into_the_channel(replicas: Replicas) -> None:
    stage = replicas.stage
    sleeper = session_id(stage.connect(user="auditor"))
    listed = stage.asks(stage.alice, "/sessions user=auditor", "Sessions on demo")
    before = replicas.answered("sessions.close_session")
    with replicas.delivers_to_both():
        menu = next(e for b in listed["blocks"] for e in b.get("elements", []) if e["type"] == "multi_static_select")
        # Other tests' bots log in as the same user.
        texts = [option["text"]["text"] for option in menu["options"]]
        stage.alice.choose(listed, menu["action_id"], [text for text in texts if text.startswith(str(sleeper))])
        stage.alice.press(listed, "Close Session")
    replicas.waits_for_both("sessions.close_session", before)
    assert len(replicas.told(ASKS)) == 1
    assert str(sleeper) in text_of(replicas.told(ASKS)[0])


def test_a_press_that_closes_tells_its_presser_nothing_else(replicas: Replicas) -> None:
    stage = replicas.stage
    card = stage.card_of(session_id(stage.connect()))
    before = replicas.answered("closing.close_session")
    with replicas.delivers_to_both():
        stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, is_closed)
    replicas.waits_for_both("closing.close_session", before)
    assert len(replicas.told()) == 1


def test_a_window_is_opened_once_and_submitted_once(replicas: Replicas) -> None:
    stage = replicas.stage
    sleepers = [session_id(stage.connect()) for _ in range(6)]
    card = stage.card_of(",".join(map(str, sleepers)))
    before = replicas.answered("closing.look_session"), replicas.answered("closing.typed")
    with replicas.delivers_to_both():
        stage.alice.press(card, "Close Session")
        replicas.waits_for_both("closing.look_session", before[0])
        stage.alice.fill_in(stage.alice.wait_for_modal("How many sessions"), "closing.number", "6")
        assert stage.alice.submit() == {}
    stage.alice.wait_for_change(card, is_closed)
    replicas.waits_for_both("closing.typed", before[1])
    assert len(replicas.told()) == 1


def test_the_window_of_view_sql_is_opened_once(replicas: Replicas) -> None:
    stage = replicas.stage
    card = stage.asks(stage.alice, f"/sessions show {session_id(stage.connect())}", "Session")
    before = replicas.answered("sessions.view_sql")
    with replicas.delivers_to_both():
        stage.alice.press(card, "View SQL")
    replicas.waits_for_both("sessions.view_sql", before)
    assert len(stage.alice.modals()) == 1
    assert replicas.told() == [card], "nobody is told that Slack did not open the window"


def test_a_command_whose_replica_dies_before_its_card_is_answered_by_the_other_one(replicas: Replicas) -> None:
    stage, (first, other) = replicas.stage, replicas.bots
    sleeper = session_id(stage.connect())
    trigger = f"{next(_triggers)}.{secrets.token_hex(8)}"
    body = urlencode(
        {
            "command": "/kill-session",
            "text": str(sleeper),
            "user_id": "U01ALICE",
            "team_id": "T01DEMO",
            "channel_id": "C01INC",
            "trigger_id": trigger,
            "response_url": "",
        }
    ).encode()
    headers = signed(stage.slack.world.signing_secret, body)
    under_way = "SELECT COUNT(*) FROM deliveries WHERE lease_until IS NOT NULL"
    stage.slack.wait_for(lambda: replicas.stored(under_way) == 0, what="what came before to be over")
    with replicas.line.holds("PROCESSLIST"):
        assert first.web.request("POST", "/slack/events", body, headers)[0] == 200
        stage.slack.wait_for(lambda: replicas.stored(under_way) == 1, what="the first one to take it")
        assert other.web.request("POST", "/slack/events", body, headers)[0] == 200
        first.kill()
        stage.alice.wait_for_message(lambda card: ASKS in text_of(card) and str(sleeper) in text_of(card))
    first.start()
    assert len(replicas.told()) == 1
