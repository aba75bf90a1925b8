"""The stand-in for OBProxy passes everything on but KILL."""

from __future__ import annotations

import pymysql
import pytest

from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.support.odp import Odp
from tests.support.stage import session_id


@pytest.mark.parametrize("errno", [1094, 4016])
def test_a_kill_is_kept_from_the_server_and_everything_else_passes(mariadb: EmbeddedMariaDB, errno: int) -> None:
    with Odp(mariadb.host, mariadb.port, errno) as odp, mariadb.connect() as victim:
        through = pymysql.connect(host="127.0.0.1", port=odp.port, user="root", password=mariadb.password)
        with through, through.cursor() as cursor:
            with pytest.raises(pymysql.err.MySQLError) as refused:
                cursor.execute(f"kill query {session_id(victim)}")
            assert refused.value.args == (errno, f"Unknown thread id: {session_id(victim)}")
            cursor.execute("SELECT REPEAT('x', 100000)")
            assert len(cursor.fetchone()[0]) == 100_000  # type: ignore[index]  # there is one row
        assert odp.kills == [b"kill query %d" % session_id(victim)]
        victim.ping(reconnect=False)
