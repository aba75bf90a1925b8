"""/sessions audit: the record for people, within what each may see; as a timeline and as a file."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.approving import ACCESS
from tests.support.slack_person import table_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import ASKS, Stage, session_id, staged
from tests.support.stores import store_at

HOSTILE = '=HYPERLINK("http://evil") **bold** <!channel> `code` [x](http://evil) ~no~ #1'


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage with a record."""
    with staged(oceanbase, tmp_path_factory.mktemp("audit"), access=ACCESS) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage, as a bot that has just been set up, and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def own_session(stage: Stage) -> int:
    """Open a session from an address of its own, so that none is taken for another one that came back."""
    return session_id(stage.connect(bind_address=f"127.0.7.{next(_ADDRESSES)}"))


_ADDRESSES = itertools.count(2)


def closes(stage: Stage, reason: str = "", channel: str | None = None) -> int:
    """Alice closes a session; returns its id."""
    number = own_session(stage)
    why = f" reason='{reason}'" if reason else ""
    card = stage.asks(stage.alice, f"/kill-session {number} source=demo{why}", ASKS, channel)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    return number


def cancels(stage: Stage) -> int:
    """Bob asks for a close and cancels it; returns the session's id."""
    number = own_session(stage)
    card = stage.asks(stage.bob, f"/kill-session {number}", ASKS)
    stage.bob.press(card, "Cancel")
    stage.bob.wait_for_change(card, "cancelled")
    return number


def record(stage: Stage, typed: str = "", asker: str = "alice") -> Json:
    """Ask for the record and return the answer."""
    return stage.asks(getattr(stage, asker), f"/sessions audit {typed}", "ecord")


def acts(message: Json) -> list[tuple[str, str]]:
    """Who did what, the newest first."""
    return [(who, what) for _, who, what in table_of(message)[1:]]


def test_the_record_shows_who_did_what_the_newest_first_to_the_asker_alone(stage: Stage) -> None:
    number = closes(stage, "a leak")
    listed = record(stage, asker="bob")
    assert listed["ephemeral"]
    assert table_of(listed)[0] == ["Time", "Who", "What"]
    outcome, intent, confirm, request = acts(listed)[:4]
    assert outcome == ("-", f"{number}: closed")
    assert intent[1].startswith("sends to demo: KILL ")
    assert confirm == ("U01ALICE", "confirmed Close Session")
    assert request[0] == "U01ALICE"
    assert request[1].startswith(f"asked for Close Session: {number} (teller from 127.0.7.")
    assert request[1].endswith("because: a leak")
    assert "the newest first. Times are UTC." in text_of(listed)


@pytest.mark.parametrize("by", ["by=me", "by=@alice", 'by="Alice Ng"', "by=<@U01ALICE>", "by=<@U01ALICE|alice>"])
def test_a_person_is_named_in_every_way_that_slack_lets_them_be_typed(stage: Stage, by: str) -> None:
    closes(stage)
    cancels(stage)
    found = acts(record(stage, by))
    assert found
    assert {who for who, _ in found} == {"U01ALICE"}
    assert {who for who, _ in acts(record(stage, "by=@bob"))} == {"U02BOB"}


def test_a_person_who_did_nothing_a_tenant_and_a_source_narrow_it(stage: Stage) -> None:
    number = closes(stage)
    for nothing in ("by=@nobody", "by=U03GUS", "tenant=shop"):
        assert "Nothing is on record in that time, of what you may see." in text_of(record(stage, nothing))
    for everything in ("tenant=sys", "source=demo", "since=2d"):
        assert f"{number}: closed" in text_of(record(stage, everything))


def test_only_what_was_done_since_then_is_shown(stage: Stage) -> None:
    number = closes(stage)
    with sqlite3.connect(stage.bot.config.parent / "store.db") as store:
        store.execute("UPDATE audit SET at = at - 7200000000")  # two hours in microseconds
    store.close()
    newer = cancels(stage)
    said = text_of(record(stage))
    assert str(newer) in said
    assert str(number) not in said
    assert str(number) in text_of(record(stage, "since=3h"))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("everything", "“everything” is not understood here"),
        ("since=yesterday", "since"),
        ("since=20y", "since"),
        ("since=1h since=2h", "since takes one value after =, once"),
        ("by=a,b", "by takes one value after =, once"),
        ("user=app", "There is no key “user” here. Use one of: since, by, tenant, source"),
        ("source=prod", "There is no data source prod that you may use here"),
    ],
)
def test_words_typed_wrong_earn_a_sentence_and_an_example(stage: Stage, typed: str, sentence: str) -> None:
    answer = stage.asks(stage.alice, f"/sessions audit {typed}", sentence)
    assert answer["ephemeral"]
    assert "Error id" in text_of(answer)


def test_a_slip_is_corrected_and_said_in_the_record(stage: Stage) -> None:
    closes(stage)
    assert "“tenat” was read as tenant." in text_of(record(stage, "tenat=sys"))


def test_the_timeline_of_a_channel_is_markdown_that_no_reason_can_break(stage: Stage) -> None:
    number = closes(stage, HOSTILE)
    elsewhere = closes(stage, "elsewhere", channel="C02DBA")
    said = text_of(stage.asks(stage.bob, "/sessions audit here", "The timeline of this channel, to copy"))
    assert "## Sessions closed, " in said
    assert f" **Alice Ng** asked for Close Session: {number} \\(teller from 127.0.7." in said
    assert r"because: =HYPERLINK\(" in said
    assert r"\*\*bold\*\* \<\!channel\> \`code\` \[x\]\(http://evil\) \~no\~ \#1" in said
    assert f" {number}: closed" in said
    assert str(elsewhere) not in said
    times = [line[:21] for line in said.splitlines() if line.startswith("- ")]
    assert len(times) > 4
    assert times == sorted(times), "the oldest first, with their dates"


def test_a_long_timeline_goes_as_a_file_by_direct_message(stage: Stage) -> None:
    for _ in range(12):
        stage.card_of(f"{own_session(stage)} reason='{'long ' * 100}'")
    stage.asks(stage.alice, "/sessions audit here", "it has come to you as a file, by direct message")
    [message] = stage.alice.direct_messages()
    assert message["files"][0]["text"].startswith("## Sessions closed, ")


def test_all_of_it_comes_as_a_file_that_no_spreadsheet_reads_as_formulas(stage: Stage) -> None:
    number = closes(stage, HOSTILE)
    stage.asks(stage.alice, "/sessions audit since=30d csv", "UTC have come to you as a file, by direct message")
    [message] = stage.alice.direct_messages()
    [file] = message["files"]
    assert file["name"] == "audit.csv"
    rows = list(csv.DictReader(io.StringIO(file["text"])))
    assert [int(row["number"]) for row in rows] == list(range(1, len(rows) + 1))
    mine = [row for row in rows if row["request"] == rows[-1]["request"]]
    assert [row["event"] for row in mine] == ["request", "confirm", "intent", "outcome"]
    assert json.loads(mine[0]["details"])["reason"] == HOSTILE
    assert json.loads(mine[0]["details"])["targets"][0]["id"] == number
    assert (mine[1]["person"], mine[1]["name"], mine[1]["channel"]) == ("U01ALICE", "Alice Ng", "C01INC")
    cells = [cell for row in csv.reader(io.StringIO(file["text"])) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert stage.bob.direct_messages() == []


def test_a_file_that_slack_refuses_is_said(stage: Stage) -> None:
    stage.slack.faults.fail_next("conversations.open", error="missing_scope")
    stage.asks(stage.alice, "/sessions audit csv", "Slack did not take the file")


def test_who_may_see_nothing_sees_nothing_of_the_record(stage: Stage) -> None:
    closes(stage)
    for typed in ("", "here", "csv"):
        assert stage.asks(stage.gus, f"/sessions audit {typed}", "You may not see sessions")["ephemeral"]
    assert stage.gus.direct_messages() == []


def test_who_may_see_one_tenant_sees_what_was_done_there(oceanbase: EmbeddedOceanBase, tmp_path: Path) -> None:
    access = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["view"]
tenants = ["sys"]

[[access]]
who = ["U03GUS"]
may = ["view"]
tenants = ["shop"]
"""
    with staged(oceanbase, tmp_path, access=access) as stage:
        number = closes(stage)
        assert f"{number}: closed" in text_of(record(stage, asker="bob"))
        for typed in ("", "tenant=sys"):
            said = text_of(record(stage, typed, asker="gus"))
            assert "Nothing is on record in that time, of what you may see." in said
            assert str(number) not in said
        stage.tidy()


def test_a_long_record_is_cut_with_the_number_said_and_shown_as_text_where_slack_takes_no_table(stage: Stage) -> None:
    for _ in range(15):
        cancels(stage)  # three acts each
    [(count,)] = stage.stored("SELECT COUNT(*) FROM audit")
    listed = record(stage, "since=1d")
    shown = len(acts(listed))
    assert 20 < shown <= 40
    assert f"{shown} shown of {count:,} since" in text_of(listed)
    stage.slack.faults.refuse_blocks.add("table")
    try:
        plain = record(stage, "since=1d")
    finally:
        stage.slack.faults.refuse_blocks.clear()
    assert table_of(plain) == []
    assert f"{shown} shown of {count:,} since" in text_of(plain)
    assert "cancelled the close of" in text_of(plain)
    assert "U02BOB" in text_of(plain)


def test_a_record_of_more_than_one_answer_holds_says_since_when_it_is_whole(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path, access=ACCESS) as stage:
        cancels(stage)
        with sqlite3.connect(tmp_path / "store.db") as store:
            store.execute(
                "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 5200) INSERT INTO audit "
                "SELECT n.i, at + n.i * 1000000, event, person, team, channel, source, request_id, details, hash "
                "FROM audit, n WHERE event = 'cancel'"
            )
        store.close()
        [(whole,)] = stage.stored("SELECT at FROM audit ORDER BY id DESC LIMIT 1 OFFSET 4999")
        since = f"{datetime.fromtimestamp(whole // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"
        assert f"of 5,000 since {since}" in text_of(record(stage, "since=30d"))
        stage.asks(stage.alice, "/sessions audit since=30d csv", f"5,000 acts since {since} UTC have come")
        stage.tidy()


def test_check_finds_a_record_that_was_changed_or_removed(oceanbase: EmbeddedOceanBase, tmp_path: Path) -> None:
    def tamper(statement: str) -> None:
        with sqlite3.connect(tmp_path / "store.db") as store:
            store.execute(statement)
        store.close()

    with staged(oceanbase, tmp_path, access=ACCESS) as stage:
        closes(stage, "a leak")
        status, told = stage.bot.asked("check")
        assert status == 0, told
        assert "no record was changed or removed since it was written" in told
        tamper("UPDATE audit SET person = 'U02BOB' WHERE event = 'confirm'")
        status, told = stage.bot.asked("check")
        assert status == 1
        assert "problem  store: record 2 was changed\n" in told
        tamper("UPDATE audit SET person = 'U01ALICE' WHERE event = 'confirm'")
        assert stage.bot.asked("check")[0] == 0, "what was written is whole again"
        tamper("DELETE FROM audit WHERE event = 'intent'")
        tamper("UPDATE audit_head SET first = 1, first_hash = (SELECT hash FROM audit WHERE id = 1)")
        tamper("DELETE FROM audit WHERE id = 1")  # as if it had been let go
        status, told = stage.bot.asked("check")
        assert status == 1
        for number in (1, 3):
            assert f"problem  store: record {number} is missing\n" in told
        stage.tidy()


def test_check_says_what_was_let_go_and_since_when_that_is_on_record(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path, access=ACCESS) as stage:
        cancels(stage)
        now = datetime.now(UTC)
        with store_at(f"sqlite:///{tmp_path / 'store.db'}") as store:
            assert store.old_records.forget(now, now) == 2
        status, told = stage.bot.asked("check")
        assert status == 0, told
        assert f"; records up to number 2 were deleted on purpose, as recorded on {now:%Y-%m-%d %H:%M} UTC\n" in told
        assert "let go of 2 records, up to number 2" in text_of(record(stage, "since=30d"))
        stage.tidy()
