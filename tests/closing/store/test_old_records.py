"""Old records are let go by the bot alone: whoever else removes the first ones is found out, also after a restart."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.closing.store import Store, audit_log
from bot.closing.store.database import Database
from sandbox.databases.embedded import EmbeddedServer
from tests.closing.conftest import ALICE

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
# The two tables as every version made them that did not put on record what it let go.
OLDER = (
    """CREATE TABLE audit (
        id BIGINT NOT NULL, at BIGINT NOT NULL, event VARCHAR(32) NOT NULL, person VARCHAR(32), team VARCHAR(32),
        channel VARCHAR(32), source VARCHAR(64), request_id VARCHAR(32), details TEXT NOT NULL,
        hash VARCHAR(64) NOT NULL, PRIMARY KEY (id))""",
    """CREATE TABLE audit_head (
        id INTEGER NOT NULL, count BIGINT NOT NULL, hash VARCHAR(64) NOT NULL, first BIGINT NOT NULL,
        first_hash VARCHAR(64) NOT NULL, PRIMARY KEY (id))""",
)

EVERYWHERE = pytest.mark.parametrize(
    "kept", ["sqlite", "mariadb", "oceanbase"], ids=["sqlite", "mariadb", "oceanbase-4.3.5"], indirect=True
)

_schemas = itertools.count(1)


class Kept:
    """A store, replicas of the bot that share it, and somebody who has got at its database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stores: list[Store] = []
        self._thief = sa.create_engine(url)

    def start(self) -> Store:
        """Start a replica."""
        self._stores.append(Store(Database(self.url)))
        self._stores[-1].database.create()
        return self._stores[-1]

    def change(self, *statements: str, **values: object) -> None:
        """Change the tables behind the bot's back."""
        with self._thief.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement), values)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Write into the tables as they are."""
        return self._thief.begin()

    def remove_up_to(self, number: int) -> None:
        """Remove the first rows as if the bot had let them go, as far as the head can say so."""
        with self._thief.begin() as connection:
            found = connection.execute(sa.text("SELECT hash FROM audit WHERE id = :id"), {"id": number}).scalar_one()
        forged = "UPDATE audit_head SET first = :number, first_hash = :hash"
        self.change("DELETE FROM audit WHERE id <= :number", forged, number=number, hash=found)

    def rows(self) -> list[tuple[int, str]]:
        """Number and event of every row."""
        with self._thief.connect() as connection:
            return [(row.id, row.event) for row in connection.execute(sa.text("SELECT * FROM audit ORDER BY id"))]

    def close(self) -> None:
        """Close all connections."""
        self._thief.dispose()
        for store in self._stores:
            store.database.close()


@pytest.fixture(params=["sqlite", "mariadb"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    if request.param == "sqlite":
        made = Kept(f"sqlite:///{tmp_path / 'store.db'}")
        yield made
        made.close()
        return
    server = request.getfixturevalue(request.param)
    assert isinstance(server, EmbeddedServer)
    schema = f"letting_go_{next(_schemas)}"
    url = sa.URL.create("mysql+pymysql", server.user, server.password, server.host, server.port, schema)
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
        made = Kept(url.render_as_string(hide_password=False))
        yield made
        made.close()
        cursor.execute(f"DROP DATABASE {schema}")


def acts(store: Store, count: int, age: timedelta) -> None:
    for number in range(count):
        with store.database.writing() as connection:
            audit_log.append(connection, NOW - age, "act", {"number": number}, person=ALICE, source="demo")


def problems(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return audit_log.problems(audit_log.whole(connection))


def let_go(store: Store) -> audit_log.LetGo:
    with store.database.reading() as connection:
        found = audit_log.let_go(audit_log.whole(connection))
    assert found is not None
    return found


def three_let_go(kept: Kept) -> Store:
    """Start a bot that lets go of three records; two more and the record of that stay: 4, 5 and 6."""
    store = kept.start()
    acts(store, 3, 9 * DAY)
    acts(store, 2, 7 * DAY)
    assert store.old_records.forget(NOW - 8 * DAY, NOW - 6 * DAY) == 3
    assert problems(store) == []
    return store


@EVERYWHERE
def test_letting_go_is_a_record_that_says_how_many_and_up_to_which(kept: Kept) -> None:
    store = three_let_go(kept)
    assert kept.rows() == [(4, "act"), (5, "act"), (6, "forget")]
    with store.database.reading() as connection:
        (told,) = audit_log.entries(connection, event="forget")
    details = dict(told.details)
    assert len(details.pop("hash")) == 64
    assert details == {"records": 3, "in_all": 3, "last": 3, "before": (NOW - 8 * DAY).isoformat()}


@pytest.mark.parametrize("number", [1, 2, 4])
def test_first_rows_that_somebody_removed_are_missing_whatever_the_head_says_and_after_a_restart_too(
    kept: Kept, number: int
) -> None:
    store = kept.start()
    acts(store, 4, DAY)
    kept.remove_up_to(number)
    for bot in (store, kept.start(), kept.start()):
        assert problems(bot) == [f"records 1 to {number} are missing" if number > 1 else "record 1 is missing"]
    acts(store, 1, timedelta())
    assert problems(kept.start()), "the next act hides nothing"


def test_what_somebody_removes_after_the_bot_has_let_go_is_missing(kept: Kept) -> None:
    store = three_let_go(kept)
    kept.remove_up_to(4)
    assert problems(store) == problems(kept.start()) == ["record 4 is missing"]


def test_first_rows_removed_with_the_record_of_letting_go_among_them_are_missing(kept: Kept) -> None:
    store = three_let_go(kept)
    acts(store, 2, DAY)
    kept.remove_up_to(6)
    assert problems(store) == problems(kept.start()) == ["records 1 to 6 are missing"]


def test_a_record_of_letting_go_that_was_removed_alone_is_missing_with_all_that_it_vouched_for(kept: Kept) -> None:
    store = three_let_go(kept)
    acts(store, 1, DAY)
    kept.change("DELETE FROM audit WHERE event = 'forget'")
    assert problems(store) == problems(kept.start()) == ["records 1 to 3 are missing", "record 6 is missing"]


@pytest.mark.parametrize(
    "changes",
    [{"last": 4}, {"last": 4, "in_all": 4}, {"hash": "0" * 64}, {"in_all": 2}, {"last": -1}, {"last": "many"}],
    ids=str,
)
def test_a_record_of_letting_go_that_was_changed_vouches_for_nothing_more(kept: Kept, changes: dict[str, Any]) -> None:
    store = three_let_go(kept)
    with store.database.reading() as connection:
        (told,) = audit_log.entries(connection, event="forget")
    kept.change("UPDATE audit SET details = :details WHERE id = 6", details=json.dumps({**told.details, **changes}))
    assert "record 6 was changed" in problems(store)
    kept.remove_up_to(4)
    assert "record 6 was changed" in problems(kept.start())


def test_details_that_are_no_details_any_more_are_told_and_stop_no_check(kept: Kept) -> None:
    store = three_let_go(kept)
    kept.change("UPDATE audit SET details = '[' WHERE event = 'forget'")
    assert problems(store) == ["records 1 to 3 are missing", "record 6 was changed"]


def test_a_record_of_letting_go_that_is_not_of_the_chain_is_told_itself(kept: Kept) -> None:
    store = kept.start()
    acts(store, 4, DAY)
    kept.remove_up_to(2)
    with store.database.reading() as connection:
        forged = json.dumps({"last": 2, "in_all": 2, "hash": audit_log.entries(connection)[0].hash})
    row = "INSERT INTO audit (id, at, event, details, hash) VALUES (5, 1, 'forget', :details, 'forged')"
    kept.change(row, "UPDATE audit_head SET count = 5, hash = 'forged'", details=forged)
    assert "record 5 was changed" in problems(store)
    assert "record 5 was changed" in problems(kept.start())


def test_the_newest_record_of_letting_go_takes_the_place_of_the_one_before(kept: Kept) -> None:
    store = three_let_go(kept)
    acts(store, 1, DAY)
    assert store.old_records.forget(NOW - 2 * DAY, NOW) == 3, "two acts, and the record of the first time"
    assert kept.rows() == [(7, "act"), (8, "forget")]
    assert problems(store) == []
    told = let_go(store)
    assert (told.last, told.records) == (6, 6)
    kept.remove_up_to(7)
    assert problems(store) == ["record 7 is missing"]


def test_when_all_is_let_go_the_record_of_that_stays_until_there_is_more_to_let_go(kept: Kept) -> None:
    store = kept.start()
    assert store.old_records.forget(NOW, NOW) == 0
    acts(store, 3, 9 * DAY)
    assert store.old_records.forget(NOW - 8 * DAY, NOW - 8 * DAY) == 3
    for _ in range(2):
        assert store.old_records.forget(NOW, NOW) == 0, "what vouches for the others is old as well, and stays"
        assert kept.rows() == [(4, "forget")]
        assert problems(store) == []
    acts(store, 1, DAY)
    assert store.old_records.forget(NOW, NOW) == 2
    assert kept.rows() == [(6, "forget")]
    assert problems(store) == []
    kept.change("DELETE FROM audit")
    assert problems(store) == problems(kept.start()) == ["records 1 to 6 are missing"]


@pytest.mark.parametrize("gone", ["id <= 2", "id IN (2, 3)", "id IN (1, 3)"])
def test_what_somebody_removed_is_still_told_when_the_rows_around_it_have_been_let_go(kept: Kept, gone: str) -> None:
    store = kept.start()
    acts(store, 5, 9 * DAY)
    kept.change(f"DELETE FROM audit WHERE {gone}")
    acts(store, 1, DAY)
    assert store.old_records.forget(NOW - 8 * DAY, NOW) == 3
    told = ["2 of the records up to number 5 are missing"]
    assert problems(store) == told
    acts(store, 1, timedelta())
    assert store.old_records.forget(NOW - timedelta(hours=1), NOW) == 1
    assert problems(kept.start()) == ["2 of the records up to number 6 are missing"]


def test_a_row_in_the_middle_and_one_that_was_put_back_are_told(kept: Kept) -> None:
    store = kept.start()
    acts(store, 3, 9 * DAY)
    kept.change("CREATE TABLE away AS SELECT * FROM audit WHERE id = 3")
    acts(store, 3, DAY)
    store.old_records.forget(NOW - 8 * DAY, NOW)
    kept.change("INSERT INTO audit SELECT * FROM away", "DELETE FROM audit WHERE id = 5")
    assert problems(store) == ["record 3, which had been let go, was put back", "record 5 is missing"]


@EVERYWHERE
def test_a_check_beside_bots_that_write_and_let_go_finds_nothing_wrong(kept: Kept) -> None:
    stores = [kept.start(), kept.start()]

    def busy() -> None:
        for _ in range(4):
            acts(stores[0], 3, 9 * DAY)
            stores[0].old_records.forget(NOW - 8 * DAY, NOW - 9 * DAY)

    found: list[list[str]] = []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(busy)
        while not writing.done():
            found.append(problems(stores[1]))
        writing.result()
    assert found
    assert [one for one in found if one] == []


@pytest.fixture
def older(kept: Kept) -> Callable[[int], None]:
    """Make the store as an older version left it, with six acts of which the first ones had been let go."""

    def make(gone: int) -> None:
        kept.change(*OLDER, "INSERT INTO audit_head VALUES (1, 0, '', 0, '')")
        with kept.writing() as connection:
            for number in range(6):
                audit_log.append(connection, NOW - 2 * DAY, "act", {"number": number}, person=ALICE, source="demo")
        if gone:
            kept.remove_up_to(gone)  # which is what letting go was

    return make


@EVERYWHERE
def test_an_older_store_that_has_let_go_gets_one_record_of_it_however_many_replicas_start(
    kept: Kept, older: Callable[[int], None]
) -> None:
    older(4)
    start = threading.Barrier(4)

    def replica(_number: int) -> Store:
        start.wait()
        return kept.start()

    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(replica, range(4)))
    assert kept.rows() == [(5, "act"), (6, "act"), (7, "forget")]
    assert [problems(store) for store in (*stores, kept.start())] == [[]] * 5
    told = let_go(stores[0])
    assert (told.last, told.records, told.by_older_version) == (4, 4, True)
    assert stores[0].old_records.forget(NOW - DAY, NOW) == 2
    assert problems(stores[1]) == []
    assert not let_go(stores[0]).by_older_version


def test_an_older_store_that_has_let_go_of_nothing_gets_no_record_and_none_later(
    kept: Kept, older: Callable[[int], None]
) -> None:
    older(0)
    store = kept.start()
    assert kept.rows() == [(number, "act") for number in range(1, 7)]
    kept.remove_up_to(3)
    assert problems(store) == problems(kept.start()) == ["records 1 to 3 are missing"]


@pytest.mark.parametrize("as_if_older", [False, True], ids=["", "as if it were older"])
def test_an_older_store_is_believed_once_and_its_head_never_again(
    kept: Kept, older: Callable[[int], None], as_if_older: bool
) -> None:
    older(2)
    store = kept.start()
    kept.remove_up_to(5)
    if as_if_older:
        kept.change("ALTER TABLE audit_head DROP COLUMN letting_go_recorded")
    assert problems(store) == problems(kept.start()) == ["records 3 to 5 are missing"]


def test_a_bot_that_was_stopped_between_that_record_and_the_widening_does_not_write_it_again(
    kept: Kept, older: Callable[[int], None]
) -> None:
    older(2)
    store = Store(Database(kept.url))
    with store.database.engine.begin() as connection:
        audit_log.acknowledge(connection)
    store.database.close()
    assert problems(kept.start()) == []
    assert [event for _, event in kept.rows()].count("forget") == 1


def test_a_head_that_was_removed_is_told(kept: Kept) -> None:
    store = kept.start()
    acts(store, 2, DAY)
    kept.change("DELETE FROM audit_head")
    assert problems(store) == ["the head of the record is missing"]
    assert problems(kept.start()) == ["the end of the record, after number 2, was changed"]
