"""The store: one claim ever, nothing lost, nothing sent without an intent."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bot.closing.approval import Confirmation
from bot.closing.model import CardPlace, Outcome, State, TargetOutcome
from bot.closing.store import Store, audit_log
from bot.closing.store.database import Database
from bot.closing.store.deliveries import Taken
from bot.closing.targets import Wanted
from bot.errors import StoreError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, BOB, CHANNEL, Desk
from tests.closing.several import confirm
from tests.support.stage import session_id
from tests.support.stores import store_at


def test_a_request_survives_the_store_being_closed_and_opened(desk: Desk) -> None:
    wanted = [Wanted(session_id(desk.connect())), Wanted(session_id(desk.connect())), Wanted(5, "10.0.0.3")]
    request = desk.ask(ALICE, CHANNEL, "demo", wanted, Mode.SESSION, reason="why")
    desk.store.cards.place(request, CardPlace("C1", "1.2"))
    again = Store(Database(f"sqlite:///{desk.path}"))
    again.database.create()
    kept = again.requests.find(request.id)
    again.database.close()
    assert kept is not None
    assert kept == replace(request, card=CardPlace("C1", "1.2"))
    assert (len(kept.targets), [one.session_id for one in kept.untouched], kept.reason) == (2, [5], "why")


def test_only_one_of_two_stores_on_one_database_gets_the_claim(desk: Desk) -> None:
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    other = Store(Database(f"sqlite:///{desk.path}"))
    now = desk.clock()
    claims = [
        desk.store.decisions.claim(request, ALICE, Mode.SESSION, now),
        other.decisions.claim(request, BOB, Mode.SESSION, now),
        desk.store.decisions.cancel(request, BOB, now),
    ]
    other.database.close()
    assert claims == [True, False, False]
    kept = desk.store.requests.find(request.id)
    assert kept is not None
    assert kept.decided_by == ALICE


def test_after_an_intent_a_request_is_never_opened_again_and_never_intended_twice(desk: Desk) -> None:
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    now = desk.clock()
    with pytest.raises(StoreError):
        desk.store.intents.intend(request, request.targets[0], "KILL 5", now)  # nobody has claimed it
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, now)
    desk.store.intents.intend(request, request.targets[0], "KILL 5", now)
    with pytest.raises(StoreError):
        desk.store.intents.intend(request, request.targets[0], "KILL 5", now)
    desk.store.leases.release(request, now, "no reason")
    kept = desk.store.requests.find(request.id)
    assert kept is not None
    assert kept.state is State.CLAIMED
    desk.store.outcomes.conclude(request, {1: TargetOutcome(Outcome.CLOSED, "", now)}, now)
    assert desk.store.leases.abandoned(()) == []


def test_what_another_version_kept_of_a_session_is_read_and_what_is_missing_matches_nothing(desk: Desk) -> None:
    session = session_id(desk.connect())
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION)
    with sqlite3.connect(desk.path) as store:
        kept = json.loads(store.execute("SELECT session FROM closing_targets").fetchone()[0])
        del kept["retry_count"], kept["peer"]
        store.execute("UPDATE closing_targets SET session = ?", (json.dumps({**kept, "colour": "red"}),))
    store.close()
    done = desk.closer.confirm(Confirmation(request.id, ALICE, CHANNEL, Mode.SESSION), lambda *_: None)
    assert done.targets[0].outcome is Outcome.CHANGED
    assert desk.row(session)


def test_a_store_that_lacks_newer_columns_gets_them_and_keeps_its_requests(desk: Desk) -> None:
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    newer = ("shown", "planned", "override", "alone_from", "reviewed_by", "reviewed_team", "reviewed_at")
    with sqlite3.connect(desk.path) as old:
        for column in newer:
            old.execute(f"ALTER TABLE closing_requests DROP COLUMN {column}")
    old.close()
    for _ in range(2):
        with store_at(f"sqlite:///{desk.path}") as again:
            again.database.create()
            assert again.requests.find(request.id) == request


def test_two_replicas_that_start_at_once_on_an_empty_store_both_find_it_made(tmp_path: Path) -> None:
    stores = [Store(Database(f"sqlite:///{tmp_path / 'new.db'}")) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda store: store.database.create(), stores))
    with stores[0].database.reading() as connection:
        assert audit_log.newest(connection) == (0, "")
    for store in stores:
        store.database.close()


def test_a_new_file_that_another_process_is_at_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # for which SQLite does not wait when the journal is switched
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                other.execute("COMMIT")

        monkeypatch.setattr("bot.closing.store.sqlite_file.time.sleep", wait)  # the other process is done after a while
        store = Store(Database(f"sqlite:///{tmp_path / 'new.db'}"))
        store.database.create()
    assert len(waits) == 3
    with store.database.reading() as connection:
        assert audit_log.newest(connection) == (0, "")
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL: it outlives a power cut"
    store.database.close()


def test_an_index_that_a_store_lacks_is_made_at_the_next_start(tmp_path: Path) -> None:
    with store_at(f"sqlite:///{tmp_path / 'older.db'}") as store:
        store.database.create()
    listed = "SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix_%' ORDER BY name"
    with contextlib.closing(sqlite3.connect(tmp_path / "older.db")) as inside:
        made = inside.execute(listed).fetchall()
        for (name,) in made:
            inside.execute(f"DROP INDEX {name}")
        assert made
        assert inside.execute(listed).fetchall() == []
        with store_at(f"sqlite:///{tmp_path / 'older.db'}") as again:
            again.database.create()
        assert inside.execute(listed).fetchall() == made


def test_a_file_that_was_taken_away_is_found_at_the_next_check(tmp_path: Path) -> None:
    store = Store(Database(f"sqlite:///{tmp_path / 'kept.db'}"))
    store.database.create()
    store.database.check()
    (tmp_path / "kept.db").unlink()
    with pytest.raises(StoreError, match="The store's file is gone"):
        store.database.check()
    store.database.close()


def test_nothing_is_closed_into_a_file_that_was_taken_away_or_replaced(desk: Desk) -> None:
    victims = [session_id(desk.connect()) for _ in range(2)]
    requests = [desk.ask(ALICE, CHANNEL, "demo", [Wanted(one)], Mode.SESSION) for one in victims]
    backup = desk.path.with_suffix(".backup")
    with contextlib.closing(sqlite3.connect(desk.path)) as store, contextlib.closing(sqlite3.connect(backup)) as copy:
        store.backup(copy)
    away = desk.path.with_suffix(".away")
    desk.path.rename(away)
    with pytest.raises(StoreError, match="The store's file is gone"):
        confirm(desk, requests[0])
    assert not desk.path.exists(), "no empty one is made in its place"
    away.rename(desk.path)
    assert confirm(desk, requests[0]).targets[0].outcome is Outcome.CLOSED
    for file in desk.path.parent.glob("store.db*"):
        file.rename(file.with_suffix(file.suffix + ".old"))
    backup.rename(desk.path)
    with pytest.raises(StoreError, match="was replaced by another one"):
        confirm(desk, requests[1])
    assert desk.row(victims[1])
    assert confirm(desk, requests[1]).targets[0].outcome is Outcome.CLOSED, "on record in the new file"
    with contextlib.closing(sqlite3.connect(desk.path)) as store:
        ((kept,),) = store.execute("SELECT outcome FROM closing_targets WHERE request_id = ?", (requests[1].id,))
    assert kept == "closed"


def test_a_delivery_is_taken_once_and_from_a_process_that_has_ended_at_once(tmp_path: Path) -> None:
    with store_at(f"sqlite:///{tmp_path / 'kept.db'}") as store:
        store.database.create()
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda _: store.deliveries.take("left"), range(16)))
        assert (taken.count(Taken.OURS), taken.count(Taken.ANSWERED)) == (1, 15)
        assert store.deliveries.take("answered") is Taken.OURS
        store.deliveries.answered("answered")
    with store_at(f"sqlite:///{tmp_path / 'kept.db'}") as store:  # of a file, the process before this one has ended
        assert store.deliveries.take("answered") is Taken.ANSWERED
        assert store.deliveries.take("left") is Taken.OURS
