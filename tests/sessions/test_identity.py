"""Which server or cluster a connection leads to, by what such servers answer, and how a move is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from bot.errors import ConnectionLostError, DataSourceError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.identity import Move, Server, identify

_OCEANBASE = [("version", "5.7.25-OceanBase-v4.3.5.3"), ("server_uuid", "0d17"), ("ob_query_timeout", "10000000")]
_TAIL = ("info", "OBSERVER", "CLUSTER", "DEFAULT", "DYNAMIC_EFFECTIVE")


class Answers:
    """What a server answers to the statements that begin like this."""

    def __init__(self, answers: Mapping[str, list[tuple[Any, ...]] | DataSourceError]) -> None:
        self._answers = answers

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Answer one statement."""
        answer = next(answer for start, answer in self._answers.items() if sql.startswith(start))
        if isinstance(answer, DataSourceError):
            raise answer
        return answer


def server(
    variables: list[tuple[Any, ...]] | DataSourceError, parameters: list[tuple[Any, ...]] | DataSourceError
) -> Server | None:
    return identify(cast(Connection, Answers({"SHOW VARIABLES": variables, "SHOW PARAMETERS": parameters})))


def parameters(*before: object, name: str = "prod", number: int = 7) -> list[tuple[Any, ...]]:
    return [(*before, "cluster_id", "INT", str(number), *_TAIL), (*before, "cluster", "STRING", name, *_TAIL)]


def test_any_observer_of_a_cluster_is_that_cluster_however_many_columns_come_first() -> None:
    found = server(_OCEANBASE, parameters("z1", "observer", "10.0.0.1", 2882))
    assert found == Server("cluster prod (id 7)", ("prod", "7"))
    assert server(_OCEANBASE, parameters("z1", "observer", "10.0.0.2", 2882) * 2) == found
    assert server(_OCEANBASE, parameters("observer")) == found
    assert server(_OCEANBASE, parameters("observer", number=8)) != found


@pytest.mark.parametrize("own", ["server_uuid", "server_uid"])
def test_a_server_that_is_given_another_server_id_is_no_other_where_it_has_an_id_of_its_own(own: str) -> None:
    place = [("hostname", "db"), ("port", "3306"), (own, "0d17")]
    before = server([*place, ("server_id", "1")], [])
    assert before == server([*place, ("server_id", "2")], [])
    assert before != server([*place[:2], (own, "0d18"), ("server_id", "1")], [])
    assert server([*place[:2], ("server_id", "1")], []) != server([*place[:2], ("server_id", "2")], [])


@pytest.mark.parametrize("answer", [[], PrivilegeMissingError("no")], ids=["nothing", "refused"])
def test_a_cluster_that_does_not_say_which_it_is_is_no_other_than_before(
    answer: list[tuple[Any, ...]] | DataSourceError,
) -> None:
    assert server(_OCEANBASE, answer) is None
    assert server(PrivilegeMissingError("no"), answer) is None


def test_a_connection_that_breaks_while_it_is_asked_is_no_server_without_a_name() -> None:
    with pytest.raises(ConnectionLostError):
        server(_OCEANBASE, ConnectionLostError("lost"))


def test_a_move_between_two_servers_of_one_name_is_told_as_well() -> None:
    at = datetime(2026, 3, 1, 14, 3, tzinfo=UTC)
    one, other = Server("db:3306", ("1",)), Server("db:3306", ("2",))
    assert Move(one, other, at).told("crm") == (
        "Since 14:03 UTC the address of crm leads to another server than before, which is called db:3306 as well."
    )
    assert Move(one, Server("db2:3306", ("2",)), at).told("crm") == (
        "Since 14:03 UTC the address of crm leads to db2:3306; before, it led to db:3306."
    )
