"""The record: every act, in order, and no row of it changed or removed without that being found."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.closing.approval import Confirmation
from bot.closing.audit_query import AuditQuery
from bot.closing.store import Store, audit_log
from bot.closing.store.database import Database
from bot.closing.targets import Wanted
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, BOB, CAROL, CHANNEL, GUS, Desk, record_of
from tests.support.stage import session_id

HOUR = AuditQuery(timedelta(hours=1))


def acts(store: Store, count: int, at: datetime | None = None) -> None:
    for number in range(count):
        with store.database.writing() as connection:
            audit_log.append(
                connection, at or datetime.now(UTC), "act", {"number": number}, person=ALICE, source="demo"
            )


def problems(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return audit_log.problems(audit_log.whole(connection))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Store:
    made = Store(Database(f"sqlite:///{path}"))
    made.database.create()
    return made


def change(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as store:
        for statement in statements:
            store.execute(statement)
    store.close()


def test_a_record_that_nobody_has_touched_has_no_problems(store: Store) -> None:
    assert problems(store) == []
    acts(store, 5)
    assert problems(store) == []
    store.database.close()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET person = 'U09EVE' WHERE id = 3", ["record 3 was changed"]),
        ("UPDATE audit SET at = at + 1 WHERE id = 1", ["record 1 was changed"]),
        ("UPDATE audit SET details = '{}' WHERE id = 8", ["record 8 was changed"]),
        ("DELETE FROM audit WHERE id = 4", ["record 4 is missing"]),
        ("DELETE FROM audit WHERE id IN (1, 2)", ["records 1 to 2 are missing"]),
        ("DELETE FROM audit WHERE id > 6", ["records 7 to 8 are missing"]),
        ("DELETE FROM audit", ["records 1 to 8 are missing"]),
        ("UPDATE audit SET id = 20 WHERE id = 8", ["records 8 to 19 are missing"]),
        ("UPDATE audit_head SET hash = 'forged'", ["the end of the record, after number 8, was changed"]),
    ],
)
def test_a_row_that_was_changed_or_removed_is_found(store: Store, path: Path, statement: str, found: list[str]) -> None:
    acts(store, 8)
    store.database.close()
    change(path, statement)
    assert problems(store) == found
    store.database.close()


def test_a_row_that_was_changed_together_with_its_hash_is_found_by_the_next_one(store: Store, path: Path) -> None:
    acts(store, 3)
    store.database.close()
    change(path, "UPDATE audit SET person = 'U09EVE', hash = (SELECT hash FROM audit WHERE id = 1) WHERE id = 2")
    assert problems(store) == ["record 2 was changed", "record 3 was changed"]
    store.database.close()


def test_rows_of_many_writers_at_once_make_one_chain_without_gaps(path: Path) -> None:
    stores = [Store(Database(f"sqlite:///{path}")) for _ in range(4)]
    stores[0].database.create()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: acts(one, 10), stores))
    with stores[0].database.reading() as connection:
        assert [one.number for one in audit_log.entries(connection)] == list(range(1, 41))
        assert audit_log.problems(audit_log.whole(connection)) == []
    for store in stores:
        store.database.close()


def test_old_rows_are_let_go_and_the_chain_of_the_others_still_holds(store: Store, path: Path) -> None:
    now = datetime.now(UTC)
    acts(store, 3, now - timedelta(days=9))
    acts(store, 2, now)
    assert store.old_records.forget(now - timedelta(days=8), now) == 3
    assert store.old_records.forget(now - timedelta(days=8), now) == 0
    assert problems(store) == []
    with store.database.reading() as connection:
        assert [(one.number, one.event) for one in audit_log.entries(connection)] == [
            (4, "act"),
            (5, "act"),
            (6, "forget"),
        ]
    store.database.close()
    change(path, "DELETE FROM audit WHERE id = 4")
    assert problems(store) == ["record 4 is missing"]
    store.database.close()


def test_requests_go_with_their_records_but_not_those_that_are_open_or_to_be_reviewed(desk: Desk) -> None:
    old = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    desk.cancel(old.id, ALICE)
    open_ = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    desk.store.old_records.forget(desk.clock() + timedelta(days=1), desk.clock() + timedelta(days=1))
    assert desk.store.requests.find(old.id) is None
    assert desk.store.requests.find(open_.id) == open_


def test_the_record_of_a_close_holds_both_people_the_kill_and_the_servers_answer(two_person_desk: Desk) -> None:
    desk = two_person_desk
    session = session_id(desk.connect())
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, reason="stuck")
    desk.closer.confirm(Confirmation(request.id, BOB, CHANNEL, Mode.SESSION), lambda *_: None)
    told, _since = desk.audit.read(ALICE, CHANNEL, HOUR)
    acts_of = {one.entry.event: one.entry for one in told if one.entry.request_id == request.id}
    assert list(acts_of) == ["request", "confirm", "intent", "outcome"]
    assert (acts_of["request"].person, acts_of["confirm"].person) == (ALICE, BOB)
    assert acts_of["request"].details["reason"] == "stuck"
    assert acts_of["request"].details["targets"][0]["user"] == "teller"
    assert acts_of["intent"].details["sql"] == f"KILL {session}"
    assert acts_of["outcome"].details["answer"] == "OK"
    assert all(entry.channel == CHANNEL and entry.source == "demo" for entry in acts_of.values())


def test_a_press_that_was_refused_is_on_record_with_its_reason(desk: Desk) -> None:
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    with pytest.raises(Exception, match="You may not close"):
        desk.closer.confirm(Confirmation(request.id, GUS, CHANNEL, Mode.SESSION), lambda *_: None)
    event, details = record_of(desk, request)[-1]
    assert event == "refused"
    assert "You may not close" in details["why"]


def test_the_record_is_read_by_person_tenant_source_and_channel_and_only_as_far_as_one_may_see(desk: Desk) -> None:
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    desk.cancel(request.id, BOB)

    def read(**more: object) -> list[str]:
        told, _since = desk.audit.read(ALICE, CHANNEL, AuditQuery(timedelta(hours=1), **more))  # type: ignore[arg-type]  # as a test names them
        return [one.entry.event for one in told]

    assert read() == ["request", "cancel"]
    assert read(by=BOB.id) == ["cancel"]
    assert read(tenant="sys", source="demo", here=True) == ["request", "cancel"]
    assert read(tenant="shop") == read(source="prod") == []
    assert [one.entry.event for one in desk.audit.read(ALICE, "C02OTHER", AuditQuery(HOUR.since, here=True))[0]] == []
    assert desk.audit.read(GUS, CHANNEL, HOUR)[0] == []
    assert desk.audit.read(CAROL, CHANNEL, HOUR)[0] == [], "may close, not see"
