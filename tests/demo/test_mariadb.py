"""The MariaDB of the demo and the tests starts, comes back and ends as it is told."""

import contextlib
from pathlib import Path

import pymysql
import pytest

from bot.demo.embedded import DatabaseUnavailable
from bot.demo.mariadb import NO_SERVER, EmbeddedMariaDB


def test_it_answers_on_a_loopback_port_with_its_password_and_without_it_refuses(mariadb: EmbeddedMariaDB) -> None:
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER(), @@bind_address, @@log_bin")
        assert cursor.fetchone() == ("root@127.0.0.1", "127.0.0.1", 0)
    with pytest.raises(pymysql.err.OperationalError) as refused:
        mariadb.connect(password="")
    assert refused.value.args[0] == 1045


def test_users_and_tables_survive_a_restart_and_nothing_of_it_outlives_the_end() -> None:
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
