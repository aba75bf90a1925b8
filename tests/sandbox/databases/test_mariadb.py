"""The MariaDB of the demo and the tests starts, comes back and ends as it is told."""

import contextlib
import time
from pathlib import Path

import pymysql
import pytest

from sandbox.databases.embedded import DatabaseUnavailable
from sandbox.databases.mariadb import NO_SERVER, EmbeddedMariaDB
from sandbox.demo.shop import MARIADB_BOT_GRANT, create_bot_account
from sandbox.demo.workload import MARIADB_LET_IT_RUN, Workload
from tests.conftest import installed_mariadb
from tests.support.patience import PATIENCE


def test_it_answers_on_a_loopback_port_with_its_password_and_without_it_refuses(mariadb: EmbeddedMariaDB) -> None:
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER(), @@bind_address, @@log_bin")
        assert cursor.fetchone() == ("root@127.0.0.1", "127.0.0.1", 0)
    with pytest.raises(pymysql.err.OperationalError) as refused:
        mariadb.connect(password="")
    assert refused.value.args[0] == 1045


def test_no_other_server_that_starts_can_remove_its_temporary_files(mariadb: EmbeddedMariaDB) -> None:
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@tmpdir")
        assert cursor.fetchone() == (str(mariadb.base_dir / "tmp"),)


def test_users_and_tables_survive_a_restart_and_nothing_of_it_outlives_the_end() -> None:
    installed_mariadb()
    with EmbeddedMariaDB() as database:
        with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE kept")
        database.restart()
        with contextlib.closing(database.connect(database="kept")) as connection:
            assert connection.open
        process, folder = database.process_id, database.base_dir
    assert not folder.exists()
    assert not Path(f"/proc/{process}").exists()


def test_a_machine_without_mariadb_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(DatabaseUnavailable, match="apt-get install mariadb-server") as told:
        EmbeddedMariaDB()
    assert str(told.value) == NO_SERVER


def test_the_demos_workload_runs_on_it_with_writers_that_wait_for_a_row_and_a_bot_that_sees_them_all() -> None:
    installed_mariadb()
    with EmbeddedMariaDB() as database:
        with contextlib.closing(database.connect()) as connection:
            user, password = create_bot_account(connection, MARIADB_BOT_GRANT)
        root = (database.host, database.port, database.user, database.password)
        with Workload(*root, let_it_run=MARIADB_LET_IT_RUN) as workload:
            workload.events.wait_for("stock-take", "holding")
            with database.connect(user=user, password=password) as connection, connection.cursor() as cursor:
                deadline = time.monotonic() + PATIENCE
                waiting: object = None
                while waiting != (2,):
                    assert time.monotonic() < deadline, "two writers should wait for the row"
                    # The list of transactions is renewed only when nobody has read it for 0.1 s.
                    time.sleep(0.2)
                    cursor.execute("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'")
                    waiting = cursor.fetchone()
                cursor.execute("SELECT COUNT(DISTINCT USER) FROM information_schema.PROCESSLIST WHERE HOST LIKE '127%'")
                assert cursor.fetchall()[0][0] >= 5
