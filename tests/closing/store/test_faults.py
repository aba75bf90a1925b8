"""What fails at the store is told in a sentence of its own with a way out, once a minute in the log."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.testing import capture_logs

from bot.closing.store import audit_log, faults, file_faults
from bot.closing.store.database import Database
from bot.closing.store.outage import EVERY, Outage
from bot.closing.store.sqlite_file import SqliteFile
from bot.errors import StoreAwayError, StoreError
from bot.operations import preflight
from bot.sessions.tls import Tls
from bot.settings import Loaded, Settings
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.stores import store_at

SECRET = "Geheim-77"
ACCOUNT = "faulty_store"


def check(url: str) -> str:
    """What `check` says of a store."""
    store = {"url": url}
    access, source = [{"who": ["U01ALICE"], "may": ["view"]}], {"host": "127.0.0.1", "user": "root@sys"}
    settings = Settings.model_validate({"data_sources": {"demo": source}, "access": access, "store": store})
    loaded = Loaded(slack=None, settings=settings, data_sources={}, problems=[])
    return "\n".join(text for _, text in preflight.everything(loaded, None, lambda *_: pytest.fail("there is none")))


def run(url: str, tls: Tls | None = None) -> str:
    """What `run` logs of a store, and whoever presses reads; one that works says nothing."""
    with store_at(url, *([tls] if tls else [])) as store:
        try:
            store.database.create()
        except StoreError as error:
            return error.sentence
    return ""


def told(url: str, *words: str) -> None:
    """Find the words in both, a way out, and no secret and no name of a library's."""
    for said in (run(url), check(url)):
        for word in words:
            assert word in said
        assert "Nothing is closed without a record." in said
        for never in (SECRET, "Error", "Errno", "sqlite3", "pymysql", "sqlalche"):
            assert never not in said


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Be a user who may not do everything, as the bot is."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_is_not_there_or_no_folder_is_told(tmp_path: Path) -> None:
    told(f"sqlite:///{tmp_path}/none/store.db", f"there is no folder {tmp_path}/none. Make it, for the user")
    (tmp_path / "file").touch()
    told(f"sqlite:///{tmp_path}/file/store.db", f"there is no folder {tmp_path}/file.")
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere.db")
    told(f"sqlite:///{tmp_path}/link.db", f"cannot be made: {tmp_path}/link.db is a link that leads nowhere. Remove it")
    told(f"sqlite:///{tmp_path}", f"cannot be {tmp_path}, which is no file. Name a file")
    told(f"sqlite:///{tmp_path}/{'x' * 300}.db", "cannot be made: file name too long. Name another place")


def test_a_place_where_the_bots_user_may_not_write_is_told(tmp_path: Path, unprivileged: None) -> None:
    closed = tmp_path.parent
    said = file_faults.unusable(closed / "store.db")
    assert said.startswith(
        f"cannot be used: the user that this runs as (uid {os.geteuid()}) may not write to {closed}."
    )


def test_a_disk_that_is_mounted_read_only_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = os.statvfs(tmp_path)
    read_only = os.statvfs_result([*mounted[:8], mounted.f_flag | os.ST_RDONLY, *mounted[9:]])
    monkeypatch.setattr(os, "statvfs", lambda _folder: read_only)
    said = file_faults.unusable(tmp_path / "store.db")
    assert said.startswith(f"cannot be written: {tmp_path} is on a disk that is mounted read-only. Name another place")


def test_a_pool_that_has_no_connection_left_is_told() -> None:
    assert "Too many wait for the store" in str(faults.told(PoolTimeoutError("QueuePool limit of size 5 overflow 10")))


def test_a_file_that_is_no_store_or_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are notes, and no database at all" * 100)
    told(f"sqlite:///{tmp_path}/notes.db", "is damaged, or no store. Stop the bot, put the newest backup in its place")


def test_a_file_that_somebody_else_writes_to_without_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteFile, "options", {"connect_args": {"timeout": 0}})
    with store_at(f"sqlite:///{tmp_path}/store.db") as store:
        store.database.create()
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreAwayError, match="is being written to by another process, which does not finish"):
                store.database.try_writing()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with store_at(f"sqlite:///{tmp_path}/store.db") as store:
        store.database.create()
        sa.event.listen(store.database.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA max_page_count = 1"))
        with (
            pytest.raises(StoreAwayError, match=r"cannot grow: its disk is full\. Make room there"),
            store.database.writing() as connection,
        ):
            audit_log.append(connection, datetime.now(UTC), "refused", {"why": "x" * 1_000_000})


def test_a_server_that_is_not_there_is_told_by_what_is_wrong() -> None:
    told(f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/db", "cannot be reached: connection refused. Check that it runs")
    told(f"mysql+pymysql://u:{SECRET}@no.such.host.invalid/db", "its host's name cannot be looked up. Check the host")


def account(server: EmbeddedServer, *grants: str) -> None:
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS faulty")
        cursor.execute(f"DROP USER IF EXISTS {ACCOUNT}")
        cursor.execute(f"CREATE USER {ACCOUNT} IDENTIFIED BY '{SECRET}'")
        for grant in grants:
            cursor.execute(f"GRANT {grant} TO {ACCOUNT}")


@pytest.fixture(params=["mariadb", "mysql", "oceanbase"], ids=["mariadb", "mysql", "oceanbase-4.3.5"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


def test_a_login_that_is_refused_and_rights_that_are_missing_are_told_at_check_and_at_run(
    server: EmbeddedServer,
) -> None:
    at = f"{server.host}:{server.port}"
    everything = "SELECT, INSERT, UPDATE, CREATE, INDEX, ALTER"
    account(server)
    told(f"mysql+pymysql://{ACCOUNT}:wrong@{at}/faulty", "refused the login: ", "an @ of the password is %40")
    told(
        f"mysql+pymysql://{ACCOUNT}:{SECRET}@{at}/faulty", "into the database that [store] url names", "CREATE DATABASE"
    )
    account(server, f"{everything} ON *.*")
    told(f"mysql+pymysql://{ACCOUNT}:{SECRET}@{at}/nowhere", "there is no such database", "Create it")
    url = f"mysql+pymysql://{ACCOUNT}:{SECRET}@{at}/faulty"
    for right in ("CREATE", "INDEX"):
        account(server, f"{everything.replace(f' {right},', '')} ON faulty.*")
        told(url, f"denies its account what is needed: {right} command denied", "GRANT it.")
    for right in ("INSERT", "UPDATE") if not isinstance(server, EmbeddedOceanBase) else ():
        account(server, f"{everything.replace(f' {right},', '')} ON faulty.*")
        told(url, f"denies its account what is needed: {right} command denied", "GRANT it.")
    account(server, f"{everything} ON faulty.*")
    assert "store: it is empty; session-bot run makes " in check(url)
    assert run(url) == ""
    with server.connect(database="faulty") as admin, admin.cursor() as cursor:
        cursor.execute("ALTER TABLE closing_targets DROP COLUMN holder")
    account(server, f"{everything.replace(' INSERT,', '')} ON faulty.*")
    assert "denies its account what is needed: INSERT command denied" in check(url)
    account(server, f"{everything.removesuffix(', ALTER')} ON faulty.*")
    told(url, "denies its account what is needed: ALTER command denied", "GRANT it.")
    account(server, f"{everything} ON faulty.*")
    assert "session-bot run adds what it lacks: column closing_targets.holder" in check(url)
    assert run(url) == ""
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("DROP DATABASE faulty")


def test_a_server_without_the_tls_that_is_wanted_is_told(mariadb: EmbeddedMariaDB) -> None:
    said = run(f"mysql+pymysql://root:{SECRET}@{mariadb.host}:{mariadb.port}/x", Tls("required"))
    assert 'The store\'s database offers no TLS, and tls = "required" is set.' in said
    assert SECRET not in said


class Clock:
    """Seconds that a test rules."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def failing(seconds: float, clock: Clock, outage: Outage, every: float = 0.8) -> None:
    until = clock.now + seconds
    while clock.now < until:
        outage.noticed(StoreAwayError("It is away."), writing=True)
        clock.now += every


def test_while_the_store_is_away_the_log_says_so_once_a_minute_and_when_it_is_back() -> None:
    clock = Clock()
    outage = Outage(clock)
    with capture_logs() as logs:
        failing(3 * EVERY - 1, clock, outage)
        outage.over(writing=False)
        outage.over(writing=True)
        outage.over(writing=True)
    assert [(one["event"], one["log_level"]) for one in logs] == [("store fails", "warning")] * 3 + [
        ("store works again", "info")
    ]
    assert logs[0]["error"] == "It is away."
    assert logs[1]["times"] > 50


def test_a_store_that_fails_and_works_again_and_again_fills_no_log() -> None:
    clock = Clock()
    outage = Outage(clock)
    with capture_logs() as logs:
        for _ in range(75):
            outage.noticed(StoreAwayError("It is away."), writing=False)
            clock.now += 0.4
            outage.over(writing=False)
            clock.now += 0.4
    assert len(logs) == 2


def test_everybody_who_uses_a_store_that_is_away_makes_one_line_of_the_log(mariadb: EmbeddedMariaDB) -> None:
    account(mariadb, "SELECT, INSERT, UPDATE, CREATE, INDEX ON faulty.*")
    database = Database(f"mysql+pymysql://{ACCOUNT}:{SECRET}@{mariadb.host}:{mariadb.port}/faulty")
    database.outage = Outage()
    database.create()
    uses: list[Callable[[], object]] = [
        database.check,
        database.keep_time,
        database.try_writing,
        database.look_after,
    ]
    with mariadb.connect() as admin, admin.cursor() as cursor, capture_logs() as logs:
        cursor.execute(f"ALTER USER {ACCOUNT} ACCOUNT LOCK")
        database.engine.dispose()
        for use in uses * 5:
            with pytest.raises(StoreAwayError, match="refused the login: the account is locked"):
                use()
        cursor.execute(f"ALTER USER {ACCOUNT} ACCOUNT UNLOCK")
        database.look_after()
        database.close()
        cursor.execute("DROP DATABASE faulty")
    assert [one["event"] for one in logs] == ["store fails", "store works again"]
