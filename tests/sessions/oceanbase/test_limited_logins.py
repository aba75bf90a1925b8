"""What a login that may not read everything gets: a list with what there is, and a word on what is missing."""

from __future__ import annotations

import socket

import pytest

from bot.sessions.details import Reach
from bot.sessions.model import SORTABLE, Condition, Field, Flag, Operator, SessionFilter, SessionQuery, Sort
from bot.sessions.oceanbase import dialect as oceanbase
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import PASSWORD, Make
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like
from tests.support.stage import session_id


def test_a_login_that_may_not_read_the_views_gets_a_list_with_what_there_is_and_a_caveat(
    database: EmbeddedOceanBase, source: Make, user: str
) -> None:
    limited = source(user=user, password=PASSWORD)
    with database.connect(bind_address="127.0.0.7") as client, limited.console() as console:
        page = limited.page(SessionQuery(limit=50), frozenset({"sys"}))
        session = next(one for one in page.sessions if one.id == session_id(client))
        assert (session.tenant, session.client.user, session.state, session.trace_id) == ("sys", "root", "SLEEP", None)
        assert session.client.origin.startswith("127.0.0.7:")
        assert any("information_schema.PROCESSLIST" in caveat and "GRANT SELECT" in caveat for caveat in page.caveats)
        (own,) = console.find(console._connection.id)
        assert own.own
        assert user not in {one.client.user for one in page.sessions}
        assert any(f"Sessions of {user} are left out" in caveat for caveat in page.caveats)
        assert "GRANT SELECT" in limited.description(), "session-bot check says it, too"


def test_such_a_list_of_a_whole_cluster_names_no_server_and_no_tenant_it_does_not_know(
    source: Make, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oceanbase, "_name", lambda _connection: "OceanBase-v3.1.5")
    limited = source(user=user, password=PASSWORD)
    with source().console():
        page = limited.page(SessionQuery(), None)
        assert {(one.server, one.tenant) for one in page.sessions} == {(None, None)}
        assert limited.page(SessionQuery(), frozenset({"sys"})).total == 0, "who may see one tenant sees no unknown one"


def test_a_filter_on_what_such_a_list_lacks_finds_nothing_and_is_no_error(source: Make, user: str) -> None:
    limited = source(user=user, password=PASSWORD)
    for field in Field:
        value = 5 if field in (Field.ID, Field.TIME) else "KILLED" if field is Field.STATUS else "x"
        operator = Operator.ABOVE if field is Field.TIME else Operator.CONTAINS
        condition = Condition(field, operator, (value,))
        limited.page(SessionQuery(filter=SessionFilter((condition,), frozenset({Flag.IN_TRANSACTION}))), None)
    for field in SORTABLE:
        limited.page(SessionQuery(sort=Sort(field)), None)


def test_more_rights_are_noticed_without_a_restart(
    database: EmbeddedOceanBase, source: Make, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = source(user=user, password=PASSWORD)
    assert limited.page(SessionQuery(), None).caveats
    with database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"GRANT SELECT ON oceanbase.* TO {user}")
    assert limited.page(SessionQuery(), None).caveats, "asked again after a while, not each time"
    monkeypatch.setattr("bot.sessions.source.PROBE_EVERY", 0.0)
    page = limited.page(SessionQuery(), None)
    assert page.caveats == ()


def test_whoever_sees_everything_reads_no_caveat(source: Make) -> None:
    prod = source()
    assert prod.page(SessionQuery(), None).caveats == ()
    health = prod.health(None)
    assert (health.problem, health.sees, health.closes, health.tenant) == ("", Reach.ALL, Reach.ALL, "sys")


def test_details_that_cannot_be_read_leave_the_session_and_say_why(source: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        details = source(port=unused.getsockname()[1]).details(EXAMPLE)
    assert details.session is EXAMPLE
    assert "Not all could be read: Data source prod" in details.caveats[0]


def test_what_is_not_known_of_a_session_stays_open_in_its_details(
    database: EmbeddedOceanBase, source: Make, user: str
) -> None:
    prod = source()
    with database.connect(user=user, password=PASSWORD) as client:
        (session,) = prod.find(session_id(client), None)
        details = prod.details(session)
        assert (details.transaction_age, details.plan_id) == (None, None)
        gone = like(session, transaction_id=2**40, retry_info=-6005, command="Query", trace_id="none")
        details = prod.details(gone)
        assert (details.transaction_age, details.plan_id) == (None, None)
