"""A store that can be read and not written is told before anything is closed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.closing.store import Store, tables
from bot.closing.store.database import Database
from bot.errors import StoreError
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.support.stores import store_at

ACCOUNT, PASSWORD = "trial_store", "secret-of-store"
IDS = {"oceanbase": "oceanbase-4.3.5"}
SERVERS = ("mariadb", "mysql", "oceanbase")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def store(server: EmbeddedServer) -> Iterator[Store]:
    """Give a store whose tables are made, of an account with what the guide grants and no more."""
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS trial")
        cursor.execute("CREATE DATABASE trial")
        cursor.execute(f"DROP USER IF EXISTS {ACCOUNT}")
        cursor.execute(f"CREATE USER {ACCOUNT} IDENTIFIED BY '{PASSWORD}'")
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, CREATE, INDEX ON trial.* TO {ACCOUNT}")
        with store_at(f"mysql+pymysql://{ACCOUNT}:{PASSWORD}@{server.host}:{server.port}/trial") as opened:
            opened.database.create()
            yield opened
        cursor.execute("DROP DATABASE trial")
        cursor.execute(f"DROP USER {ACCOUNT}")


@contextlib.contextmanager
def setting(server: EmbeddedServer, on: str, off: str) -> Iterator[None]:
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(on)
        try:
            yield
        finally:
            cursor.execute(off)


def rows(database: Database) -> list[list[object]]:
    """All that is kept, but for the times of a file's clock."""
    kept = [one for one in tables.metadata.sorted_tables if one is not tables.clock]
    with database.reading() as connection:
        return [list(connection.execute(sa.select(table))) for table in kept]


@pytest.mark.parametrize("server", SERVERS, indirect=True, ids=lambda one: IDS.get(one, one))
def test_what_is_tried_leaves_nothing_behind(store: Store) -> None:
    before = rows(store.database)
    store.database.try_writing()
    store.database.check()
    assert rows(store.database) == before


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_a_server_that_is_read_only_is_told(server: EmbeddedServer, store: Store) -> None:
    with setting(server, "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"):
        for tried in (store.database.check, store.database.try_writing):
            with pytest.raises(StoreError, match=r"is read-only\. Name the server that takes writes") as told:
                tried()
            assert PASSWORD not in told.value.sentence
    store.database.check()


RIGHTS = (
    ("INSERT", "audit"),
    ("UPDATE", "closing_targets"),
    ("UPDATE", "closing_requests"),
    ("INSERT", "deliveries"),
    ("UPDATE", "deliveries"),
)


@pytest.mark.parametrize("server", SERVERS, indirect=True, ids=lambda one: IDS.get(one, one))
def test_a_right_that_is_missing_on_one_table_is_told(server: EmbeddedServer, store: Store) -> None:
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"REVOKE SELECT, INSERT, UPDATE, CREATE, INDEX ON trial.* FROM {ACCOUNT}")
        for one in ("audit", "audit_head", "closing_requests", "closing_targets", "deliveries"):
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE ON trial.{one} TO {ACCOUNT}")
        for right, table in RIGHTS:
            cursor.execute(f"REVOKE {right} ON trial.{table} FROM {ACCOUNT}")
            store.database.engine.dispose()  # what a connection was granted for its database it keeps
            with pytest.raises(StoreError, match=f"denies its account what is needed: (?i:{right}) command denied"):
                store.database.try_writing()
            cursor.execute(f"GRANT {right} ON trial.{table} TO {ACCOUNT}")
        store.database.engine.dispose()
        store.database.try_writing()


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_letting_go_of_records_is_tried_where_it_is_wanted(server: EmbeddedServer, store: Store) -> None:
    store.database.try_writing()
    with pytest.raises(StoreError, match="DELETE command denied"):
        store.database.try_writing(deleting=True)
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"GRANT DELETE ON trial.* TO {ACCOUNT}")
    before = rows(store.database)
    store.database.engine.dispose()
    store.database.try_writing(deleting=True)
    assert rows(store.database) == before


@pytest.mark.parametrize("server", SERVERS, indirect=True, ids=lambda one: IDS.get(one, one))
def test_a_login_that_is_refused_is_told_with_a_way_out(server: EmbeddedServer, store: Store) -> None:
    store.database.engine.dispose()
    with (
        setting(server, f"ALTER USER {ACCOUNT} ACCOUNT LOCK", f"ALTER USER {ACCOUNT} ACCOUNT UNLOCK"),
        pytest.raises(
            StoreError, match=r"refused the login: the account is locked\. ALTER USER … ACCOUNT UNLOCK"
        ) as told,
    ):
        store.database.check()
    assert "Nothing is closed without a record." in told.value.sentence


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_an_account_that_has_no_connection_left_is_told(server: EmbeddedServer, store: Store) -> None:
    store.database.engine.dispose()
    limit = "GRANT USAGE ON *.* TO {} WITH MAX_USER_CONNECTIONS {}"
    with (
        setting(server, limit.format(ACCOUNT, 1), limit.format(ACCOUNT, 0)),
        server.connect(user=ACCOUNT, password=PASSWORD),
        pytest.raises(StoreError, match="has as many connections open as it may"),
    ):
        store.database.check()


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_tables_that_keep_what_was_rolled_back_are_told(server: EmbeddedMariaDB, store: Store) -> None:
    with server.connect(database="trial") as admin, admin.cursor() as cursor:
        cursor.execute("ALTER TABLE closing_requests ENGINE = MyISAM")
    with pytest.raises(StoreError, match="keeps what was rolled back, as MyISAM does"):
        store.database.check()


def test_a_file_that_may_not_be_written_is_told_and_a_good_one_is_written_twice_a_minute(tmp_path: Path) -> None:
    with store_at(f"sqlite:///{tmp_path / 'kept.db'}") as store:
        database = store.database
        written: list[str] = []
        sa.event.listen(database.engine, "before_cursor_execute", lambda *given: written.append(given[2]))
        database.check()
        before = rows(database)
        assert any(one.startswith("INSERT INTO audit ") for one in written)
        written.clear()
        database.check()
        assert not any(one.startswith(("INSERT", "UPDATE")) for one in written)
        assert rows(database) == before
        with database.engine.connect() as connection:
            connection.execute(sa.text("PRAGMA query_only = 1"))
            connection.commit()
        with pytest.raises(StoreError, match="Nothing is closed without a record"):
            database.try_writing()
