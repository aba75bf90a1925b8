"""Views that a setting takes away, also under a running bot: what they tell is not known, the rest works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Mode, Pin, SessionQuery
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.conftest import installed_mariadb, running_server
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import session_id

NO_TRANSACTIONS = "This server has no information_schema.INNODB_TRX, so which sessions have a transaction open"
ACCOUNT, PASSWORD = "views_bot", "service-password"


class OddMariaDB(EmbeddedMariaDB):
    """One whose options change from one start to the next."""

    options: tuple[str, ...] = ("--performance-schema=ON",)


@contextlib.contextmanager
def watched(server: EmbeddedServer) -> Iterator[DataSource]:
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE USER {ACCOUNT} IDENTIFIED BY '{PASSWORD}'")
        cursor.execute(f"GRANT ALL ON *.* TO {ACCOUNT}")
    endpoint = Endpoint("crm", server.host, server.port, ACCOUNT, SecretStr(PASSWORD))
    with contextlib.closing(DataSource(endpoint, DataSourceOptions())) as source:
        yield source


def everything_works(server: EmbeddedServer, source: DataSource) -> None:
    """Do what a person does; the bot never says gone of what is there."""
    assert source.variables("wait_timeout", None, everywhere=True).matching >= 1
    source.check()
    assert source.health(None).problem == ""
    with server.connect() as client:
        page = source.page(SessionQuery(limit=50), None)
        assert session_id(client) in {one.id for one in page.sessions}
        assert source.statistics(SessionQuery(), Grouping.USER, None).total == page.total
        (seen,) = source.find(session_id(client), None)
        assert source.details(seen).session == seen
        with source.console() as console:
            look = console.look(Pin.of(seen), fresh=True)
            assert look.session is not None
            console.kill(look.session, Mode.SESSION)
            while console.find(seen.id):
                pass


def test_a_list_goes_on_without_transactions_that_a_restart_has_switched_off_and_has_them_again() -> None:
    installed_mariadb()
    with running_server(OddMariaDB) as server, watched(server) as crm:
        everything_works(server, crm)
        assert NO_TRANSACTIONS not in " ".join(crm.page(SessionQuery(), None).caveats)
        server.halt()
        server.options = ("--innodb-trx=OFF", "--performance-schema=OFF")
        server.start()
        everything_works(server, crm)
        assert NO_TRANSACTIONS in " ".join(crm.page(SessionQuery(), None).caveats)
        assert NO_TRANSACTIONS in crm.description()


def test_a_list_that_has_emptied_under_the_bot_is_not_taken_for_no_sessions(mysql: EmbeddedMySQL) -> None:
    """As `performance_schema.processlist` is after a restart with --performance-schema=OFF."""
    with watched(mysql) as crm, mysql.connect() as admin, admin.cursor() as cursor:
        try:
            crm.check()
            known = crm._dialect
            assert known is not None
            emptied = "(SELECT * FROM performance_schema.processlist LIMIT 0) AS processlist"
            crm._dialect = replace(known, view=known.view.replace("performance_schema.processlist", emptied))
            cursor.execute("SELECT ID FROM performance_schema.processlist WHERE USER = %s", (ACCOUNT,))
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
            with mysql.connect() as client:
                listed = crm.page(SessionQuery(limit=50), None).sessions
                assert session_id(client) in {one.id for one in listed}
            assert crm._dialect.view == known.view, "probed anew"
            everything_works(mysql, crm)
        finally:
            cursor.execute(f"DROP USER {ACCOUNT}")


def test_a_view_that_a_login_may_no_longer_read_is_gone_and_not_the_list(
    mariadb: EmbeddedMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.source.PROBE_EVERY", 0.0)
    with watched(mariadb) as crm, mariadb.connect() as admin, admin.cursor() as cursor:
        try:
            crm.check()
            cursor.execute(f"REVOKE ALL ON *.* FROM {ACCOUNT}")
            cursor.execute(f"KILL USER {ACCOUNT}")  # what a connection was granted it keeps
            assert "lacks PROCESS" in " ".join(crm.page(SessionQuery(), None).caveats)
            crm.check()
        finally:
            cursor.execute(f"DROP USER {ACCOUNT}")
