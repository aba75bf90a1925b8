"""A store of an older bot is migrated, whatever is cut off or done twice; one that is for newer bots is left alone.

And what the guide says of a backup and of going back is so.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable

from bot.access import Person
from bot.closing.model import Outcome, State, TargetOutcome
from bot.closing.store import Store, audit_log, schema, tables
from bot.errors import StoreError, StoreTooNewError
from bot.sessions.model import Mode
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.conftest import leave_out
from tests.support.documents import blocks, section
from tests.support.patience import PATIENCE
from tests.support.stores import store_at

ALICE = Person("U01ALICE", "T1")
# What a bot of before schema versions has made and written, to the letter: requests in all states, and their record.
UNVERSIONED = json.loads((Path(__file__).parent / "stores" / "unversioned.json").read_text(encoding="utf-8"))
KINDS = ["sqlite", "mariadb", "oceanbase"]
IDS = {"oceanbase": "oceanbase-4.3.5"}

_schemas = itertools.count(1)


def kind_id(kind: str) -> str:
    """Name a kind by the kernel that it runs on."""
    return IDS.get(kind, kind)


class Place:
    """Somewhere for a store, empty at first."""

    def __init__(self, url: str, *, on_sqlite: bool) -> None:
        self.url = url
        self._on_sqlite = on_sqlite

    def run(self, *statements: str) -> list[sa.Row[tuple[object, ...]]]:
        """Run statements behind the bot's back, and return the rows of the last one."""
        engine = sa.create_engine(self.url)
        with contextlib.closing(engine.raw_connection()) as raw:
            for statement in statements:
                cursor = raw.cursor()
                cursor.execute(statement)
                rows = list(cursor.fetchall()) if cursor.description else []
            raw.commit()
        engine.dispose()
        return rows

    def fill(self, keep: Callable[[str], bool] = lambda _statement: True) -> None:
        """Make it what the older bot has left; ``keep`` says which of its statements had been run."""
        self.run(*filter(keep, UNVERSIONED["sqlite" if self._on_sqlite else "mysql"]))
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            for name, rows in UNVERSIONED["rows"].items():
                for row in rows if self._on_sqlite or name != "store_clock" else ():
                    connection.execute(tables.metadata.tables[name].insert().values(row))
        engine.dispose()

    def everything(self) -> list[object]:
        """All rows and columns of all tables."""
        names = [one.name for one in tables.metadata.sorted_tables]
        found: list[object] = []
        for name in names:
            with contextlib.suppress(Exception):
                found.append((name, self.run(f"SELECT * FROM {name}")))
        return found

    def version(self) -> tuple[object, ...]:
        """What the store says of its schema."""
        (row,) = self.run("SELECT schema_version, oldest_schema, needed FROM audit_head")
        return tuple(row)


@pytest.fixture(params=KINDS, ids=kind_id)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path / 'store.db'}", on_sqlite=True)
        return
    server = request.getfixturevalue(request.param)
    assert isinstance(server, EmbeddedServer)
    name = f"migrated_{next(_schemas)}"
    url = sa.URL.create("mysql+pymysql", server.user, server.password, server.host, server.port, name)
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield Place(url.render_as_string(hide_password=False), on_sqlite=False)
        cursor.execute(f"DROP DATABASE {name}")


everywhere = pytest.mark.parametrize("place", [*KINDS, "mysql"], indirect=True, ids=kind_id)
on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
on_a_server = pytest.mark.parametrize("place", ["mariadb"], indirect=True)


def goes_on(store: Store) -> None:
    """Find all that the older bot has left, and go on with it."""
    expected = {
        "done": State.DONE,
        "glass": State.DONE,
        "cancelled": State.CANCELLED,
        "expired": State.EXPIRED,
        "left-behind": State.CLAIMED,
        "open": State.OPEN,
    }
    assert {number: one.state for number, one in store.requests.those(expected).items()} == expected
    assert store.requests.get("done").reason == "why “quoted” \U0001f480"
    assert [one.id for one in store.break_glass.to_review()] == ["glass"]
    assert [one.id for one in store.leases.abandoned(())] == ["left-behind"]
    opened, now = store.requests.get("open"), datetime.now(UTC)
    assert store.decisions.claim(opened, ALICE, Mode.SESSION, now)
    store.intents.intend(store.requests.get("open"), opened.targets[0], "KILL 1001", now)
    outcomes = {one.number: TargetOutcome(Outcome.CLOSED, "", now) for one in opened.targets}
    store.outcomes.conclude(opened, outcomes, now)
    assert store.requests.get("open").state is State.DONE
    with store.database.reading() as connection:
        rows = audit_log.whole(connection)
    assert audit_log.problems(rows) == []
    let_go = audit_log.let_go(rows)
    assert let_go is not None
    assert let_go.records == 2


@everywhere
def test_a_store_of_before_schema_versions_is_migrated_with_all_that_is_in_it(place: Place) -> None:
    place.fill()
    with store_at(place.url) as store:
        before = place.everything()
        said = str(store.database.preparation())
        assert said.startswith(f"session-bot run migrates it from schema version 0 to {tables.SCHEMA} and adds ")
        assert "column audit_head.schema_version" in said
        assert said.endswith("First stop all older session-bots and back it up")
        assert place.everything() == before, "looking changes nothing"
        store.database.create()
        assert place.version() == (tables.SCHEMA, tables.OLDEST_SCHEMA, tables.NEEDED)
        assert not store.database.preparation().is_needed
        goes_on(store)


@everywhere
def test_a_migration_that_was_cut_off_anywhere_is_gone_on_with(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.fill()
    changes = 0
    cut_at = 1

    def cut(*given: object) -> None:
        nonlocal changes
        if str(given[2]).startswith(("CREATE", "ALTER", "UPDATE audit_head SET schema")):
            changes += 1
            if changes == cut_at:
                raise OperationalError("cut off", None, Exception("the process has ended"))

    for cut_at in itertools.count(1):  # `cut` reads it
        changes = 0
        with store_at(place.url) as store:
            sa.event.listen(store.database.engine, "before_cursor_execute", cut)
            try:
                store.database.create()
            except StoreError:
                assert cut_at < 30
            else:
                break
    assert cut_at > 3
    with store_at(place.url) as store:
        goes_on(store)


def test_replicas_that_migrate_at_once_all_find_it_done(place: Place) -> None:
    place.fill()
    start = threading.Barrier(4)
    with contextlib.ExitStack() as opened:
        stores = [opened.enter_context(store_at(place.url)) for _ in range(4)]

        def create(store: Store) -> None:
            start.wait()
            store.database.create()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(create, stores))
        goes_on(stores[3])
        assert place.version() == (tables.SCHEMA, tables.OLDEST_SCHEMA, tables.NEEDED)


@pytest.mark.parametrize("place", ["mariadb", "mysql"], indirect=True)
def test_a_migration_waits_a_little_for_whoever_reads_the_store_and_leaves_nobody_waiting_for_it(place: Place) -> None:
    place.fill()
    engine = sa.create_engine(place.url)
    with engine.connect() as backup, store_at(place.url) as store:
        backup.execute(sa.text("SELECT * FROM audit_head")).all()
        with pytest.raises(StoreError, match="perhaps a replica that hangs or a backup, is at the store"):
            store.database.create()
        assert not place.run("SELECT * FROM information_schema.processlist WHERE info LIKE 'ALTER%'")
        backup.rollback()
        store.database.create()
        goes_on(store)
    engine.dispose()


def writes(store: Store) -> None:
    """Write nothing in particular."""
    with store.database.writing():
        pass


def newer(place: Place, version: int, oldest: int) -> None:
    """Make it what a later bot leaves: with a column and a table that this one does not know."""
    place.run(
        f"UPDATE audit_head SET schema_version = {version}, oldest_schema = {oldest}, needed = '9.1.0'",
        "ALTER TABLE closing_requests ADD COLUMN colour VARCHAR(8)",
        "CREATE TABLE colours (id INTEGER PRIMARY KEY)",
    )


def test_a_store_that_a_newer_bot_has_prepared_so_that_this_one_may_go_on_is_used_as_it_is(place: Place) -> None:
    place.fill()
    with store_at(place.url) as store:
        store.database.create()
        newer(place, tables.SCHEMA + 1, tables.SCHEMA)
        store.database.look_after()
    with store_at(place.url) as again:
        assert ", of a newer session-bot, which this one may share" in str(again.database.preparation())
        again.database.create()
        goes_on(again)
        again.database.check()
    assert place.version() == (tables.SCHEMA + 1, tables.SCHEMA, "9.1.0")


@everywhere
def test_a_store_for_newer_bots_alone_is_refused_at_the_start_and_by_a_bot_that_runs(place: Place) -> None:
    place.fill()
    with store_at(place.url) as store:
        store.database.create()
        newer(place, tables.SCHEMA + 2, tables.SCHEMA + 1)
        before = place.everything()
        opened, now = store.requests.get("open"), datetime.now(UTC)
        uses: list[Callable[[], object]] = [
            store.database.look_after,
            store.database.try_writing,
            lambda: store.decisions.claim(opened, ALICE, Mode.SESSION, now),
            lambda: store.requests.note(now, "refused", {}, person=ALICE, request=opened),
            store.leases.renew,
        ]
        for use in uses:
            with pytest.raises(StoreTooNewError, match=r"wants session-bot 9\.1\.0 or later.*Install that version"):
                use()
    with store_at(place.url) as again:
        uses = [again.database.create, again.database.preparation, again.database.check]
        for use in uses:
            with pytest.raises(StoreTooNewError, match=rf"has schema version {tables.SCHEMA + 2}, which wants"):
                use()
    assert place.everything() == before


@on_a_server
def test_a_writer_that_waits_while_a_newer_bot_takes_the_store_writes_nothing_more(place: Place) -> None:
    place.fill()
    with store_at(place.url) as store, store_at(place.url) as other, ThreadPoolExecutor(1) as pool:
        store.database.create()
        started = threading.Event()
        sa.event.listen(store.database.engine, "before_cursor_execute", lambda *_: started.set())
        with other.database.writing() as connection:
            late = pool.submit(writes, store)
            assert started.wait(PATIENCE)
            newer_floor = {"schema_version": 9, "oldest_schema": 9, "needed": "9.1.0"}
            connection.execute(tables.audit_head.update().values(newer_floor))
        with pytest.raises(StoreTooNewError):
            late.result()


def test_a_newer_bot_that_adds_to_the_schema_migrates_the_store_of_this_one_and_both_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill()
    with store_at(place.url) as old, store_at(place.url) as new:
        old.database.create()
        with monkeypatch.context() as later:
            metadata = sa.MetaData()
            for table in tables.metadata.sorted_tables:
                table.to_metadata(metadata)
            colours = sa.Table("colours", metadata, sa.Column("id", sa.Integer, primary_key=True))
            metadata.tables["closing_targets"].append_column(sa.Column("colour", sa.String(8), index=True))
            later.setattr(schema, "metadata", metadata)
            later.setattr(schema, "clock", metadata.tables["store_clock"])
            later.setattr(schema, "audit_head", metadata.tables["audit_head"])
            later.setattr(tables, "SCHEMA", tables.SCHEMA + 1)
            said = str(new.database.preparation())
            assert said == (
                f"session-bot run migrates it from schema version {tables.SCHEMA - 1} to {tables.SCHEMA} and adds "
                "table colours, column closing_targets.colour, index ix_closing_targets_colour. First back it up"
            )
            new.database.create()
            assert not new.database.preparation().is_needed
            with new.database.reading() as connection:
                assert connection.execute(sa.select(colours)).all() == []
        old.database.look_after()
        goes_on(old)


def test_a_store_that_is_empty_is_looked_at_and_stays_empty(place: Place, tmp_path: Path) -> None:
    with store_at(place.url) as store:
        found = store.database.preparation()
        assert found.is_needed
        assert str(found) == f"it is empty; session-bot run makes {len(found.tables)} tables"
        assert list(tmp_path.glob("store.db*")) == [], "no file is made by looking"
        assert place.everything() == []
        store.database.create()
        assert not store.database.preparation().is_needed


@on_sqlite
def test_a_new_file_and_those_beside_it_are_its_owners_alone_and_one_that_others_can_read_is_told(
    place: Place, tmp_path: Path
) -> None:
    with store_at(place.url) as store:
        store.database.create()
        writes(store)
        files = sorted(tmp_path.glob("store.db*"))
        assert [one.name for one in files] == ["store.db", "store.db-shm", "store.db-wal"]
        assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
        assert store.database.open_to_others() == ""
        files[0].chmod(0o644)
        files[2].chmod(0o640)
        said = store.database.open_to_others()
        assert said.endswith(f"chmod 600 {files[0]} {files[2]}")


# The tables of each schema version, as text, by their digests.
LAYOUTS = {1: "b220edd7fcb7f0af"}


def test_whoever_changes_a_table_raises_the_schema_version() -> None:
    """What is changed without that never reaches a store that a bot has prepared, and no older bot is kept off."""
    made: list[CreateTable | CreateIndex] = []
    for table in tables.metadata.sorted_tables:
        made += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    written = [str(one.compile(dialect=dialect)) for dialect in (sqlite.dialect(), mysql.dialect()) for one in made]
    digest = hashlib.sha256("\n".join(written).encode()).hexdigest()[:16]
    assert LAYOUTS[tables.SCHEMA] == digest, "raise SCHEMA, and put its new digest here"


def shown(number: int) -> str:
    """One of the commands that the guide shows for backups."""
    return blocks(section("install.md", "Backup"))[number]


def sh(command: str, folder: Path, **more: str) -> None:
    environment = {**os.environ, **more}
    subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, check=True, timeout=PATIENCE)


def test_a_file_is_backed_up_while_it_is_used_and_restored_as_the_guide_says(tmp_path: Path) -> None:
    folder, away = tmp_path / "session-bot", tmp_path / "backups"
    folder.mkdir()
    away.mkdir()
    place = Place(f"sqlite:///{folder}/session-bot.db", on_sqlite=True)

    def there(command: str) -> str:
        return (
            command.replace("/var/lib/session-bot", str(folder))
            .replace("/var/backups", str(away))
            .replace("systemctl", ": systemctl")
            .replace("python3", sys.executable)
        )

    place.fill()
    with store_at(place.url) as store:
        store.database.create()
        writes(store)
        sh(there(shown(0)), tmp_path)
        assert stat.S_IMODE((away / "session-bot.db").stat().st_mode) == 0o600
        goes_on(store)
        (folder / "session-bot.db-wal").touch()
    (folder / "session-bot.db-shm").write_bytes(b"of another store")
    sh(there(shown(1)), tmp_path)
    with store_at(place.url) as store:
        store.database.create()
        goes_on(store)
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}
    for file in folder.iterdir():
        file.unlink()
    sh(there(shown(1)), tmp_path)  # into an empty place
    with store_at(place.url) as store:
        store.database.create()
        goes_on(store)


@on_a_server
def test_a_shared_store_is_dumped_while_it_is_used_and_restored_as_the_guide_says(
    place: Place, mariadb: EmbeddedMariaDB, tmp_path: Path
) -> None:
    if shutil.which("mariadb-dump") is None:
        leave_out("there is no mariadb-dump on this machine", "mariadb-client")
    login = tmp_path / ".my.cnf"
    login.touch(0o600)
    login.write_text(
        f"[client]\nhost={mariadb.host}\nport={mariadb.port}\nuser={mariadb.user}\npassword={mariadb.password}\n"
    )
    name = str(sa.make_url(place.url).database)

    def there(command: str) -> str:
        return re.sub(r"\bsession_bot\b", name, command)

    place.fill()  # a backup of before the migration: it is migrated when it is restored
    sh(there(shown(2)), tmp_path, HOME=str(tmp_path))
    with store_at(place.url) as store:
        store.database.create()
        goes_on(store)
        sh(there(shown(2)).replace("session-bot.sql", "later.sql"), tmp_path, HOME=str(tmp_path))
    sh(there(shown(3)), tmp_path, HOME=str(tmp_path))
    with store_at(place.url) as store:
        assert "migrates it from schema version 0" in str(store.database.preparation())
        store.database.create()
        goes_on(store)
    sh(there(shown(3)).replace("session-bot.sql", "later.sql"), tmp_path, HOME=str(tmp_path))
    with store_at(place.url) as store:
        store.database.create()
        assert store.requests.get("open").state is State.DONE
        store.database.check()


def test_an_older_bot_of_before_schema_versions_may_go_on_with_what_this_one_has_migrated(place: Place) -> None:
    place.fill()
    with store_at(place.url) as store:
        store.database.create()
        row = dict(UNVERSIONED["rows"]["closing_requests"][-1], id="of-the-older-bot")
        engine = sa.create_engine(place.url)
        with engine.begin() as connection:  # it names all columns that it knows, and no other
            connection.execute(sa.text("UPDATE audit_head SET count = count WHERE id = 1"))
            connection.execute(tables.requests.insert().values(row))
        engine.dispose()
        assert store.requests.get("of-the-older-bot").state is State.OPEN
        goes_on(store)
