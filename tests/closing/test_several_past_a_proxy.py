"""Several sessions in one request on the stand-in cluster, behind a proxy that keeps KILL to itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.closing.model import Outcome
from bot.sessions.database import Connection
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.closing.conftest import MAX_TARGETS, Desk
from tests.closing.several import ask, confirm, outcomes
from tests.support.cluster import BOT, Cluster
from tests.support.odp import Odp
from tests.support.stage import APP_PASSWORD, session_id


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb) as cluster:
        yield cluster


@pytest.fixture
def odp(cluster: Cluster) -> Iterator[Odp]:
    with Odp(cluster.database.host, cluster.database.port) as odp:
        yield odp


@pytest.fixture
def desk(odp: Odp, tmp_path: Path) -> Iterator[Desk]:
    behind: Any = SimpleNamespace(host="127.0.0.1", port=odp.port, user=BOT, password=APP_PASSWORD)
    desk = Desk(behind, tmp_path)
    yield desk
    desk.sessions.close()
    desk.store.database.close()


def test_once_a_proxy_has_kept_a_kill_the_rest_is_closed_past_it_over_one_connection(
    cluster: Cluster, odp: Odp, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.kill.FRESH", 60.0)  # on a machine that is busy with other tests as well
    ids = [session_id(cluster.connect("app@shop")) for _ in range(MAX_TARGETS)]
    request = ask(desk, *ids)
    looks: list[int] = []
    rows = Connection.rows

    def counting(self: Connection, sql: str, values: Any = ()) -> list[Any]:
        if "IN %s" in sql and "GV$OB_PROCESSLIST" in sql:
            looks.append(len(values[-1]))
        return rows(self, sql, values)

    monkeypatch.setattr(Connection, "rows", counting)
    assert outcomes(confirm(desk, request, typed=MAX_TARGETS)) == [Outcome.CLOSED] * MAX_TARGETS
    assert odp.kills == [b"KILL %d" % ids[0]]
    # All before the intents and before the KILLs, the first one again twice, the rest past the proxy; then afterwards.
    assert looks[:5] == [MAX_TARGETS, MAX_TARGETS, 1, 1, MAX_TARGETS - 1]


def test_those_whose_own_server_cannot_be_reached_are_told_so_and_the_others_closed(
    cluster: Cluster, odp: Odp, desk: Desk
) -> None:
    near = [session_id(cluster.connect("app@shop")) for _ in range(2)]
    far = session_id(cluster.connect("app@shop", server="127.0.0.1", port=1))
    done = confirm(desk, ask(desk, near[0], far, near[1]))
    assert outcomes(done) == [Outcome.CLOSED, Outcome.STILL_RUNNING, Outcome.CLOSED]
    assert "its own server could not be asked" in done.targets[1].detail
    assert odp.kills == [b"KILL %d" % near[0], b"KILL %d" % far]
