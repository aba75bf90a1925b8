"""Reading requests and the record: as few statements for many as for one, and never more than one may see."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.access import Access, Right, Rule
from bot.closing.audit_query import AuditQuery, AuditRecord, AuditTrail, tenants_of
from bot.closing.disclosures import Disclosures
from bot.closing.model import ClosingRequest, Target, Untouched
from bot.closing.requests import ClosingRequests
from bot.closing.store.audit_log import Entry
from bot.closing.targets import Wanted
from bot.errors import InputError
from bot.sessions.model import Mode, SessionFilter, SessionQuery
from tests.closing.conftest import ALICE, BOB, CAROL, CHANNEL, GUS, Desk, Nobody, record_of, tamper
from tests.closing.several import ask, confirm, sleepers
from tests.support.stage import session_id

HOUR = AuditQuery(timedelta(hours=1))


@contextmanager
def counted(desk: Desk) -> Iterator[list[str]]:
    """Count the statements that the store is asked."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(desk.store.database.engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(desk.store.database.engine, "before_cursor_execute", note)


def everything(_source: str, _tenant: str | None) -> bool:
    return True


READS: list[Callable[[Desk], object]] = [
    lambda desk: desk.audit.read(ALICE, CHANNEL, HOUR),
    lambda desk: desk.requests.recent(5, everything),
    lambda desk: desk.store.leases.abandoned(()),
]


@pytest.mark.parametrize("read", READS)
def test_many_requests_take_no_more_statements_than_one(desk: Desk, read: Callable[[Desk], object]) -> None:
    def some(count: int) -> int:
        for session in sleepers(desk, count):
            ask(desk, session)
            assert desk.store.decisions.claim(ask(desk, session), ALICE, Mode.SESSION, desk.clock())
        with counted(desk) as statements:
            read(desk)
        return len(statements)

    assert some(1) == some(7)


def test_the_newest_are_read_whole_and_only_of_what_somebody_sees(desk: Desk) -> None:
    done = confirm(desk, ask(desk, *sleepers(desk, 3)))
    open_ = [ask(desk, *sleepers(desk, 1)) for _ in range(3)]
    assert desk.requests.recent(2, everything) == ([open_[2], open_[1]], [done])
    assert desk.requests.recent(2, lambda _source, tenant: tenant == "shop") == ([], [])
    desk.clock.ahead += timedelta(minutes=3)
    assert desk.requests.recent(2, everything) == ([], [done]), "what ran out of time is not open"


def test_of_more_than_one_answer_takes_the_newest_are_told_and_since_when(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(desk, *sleepers(desk, 1))
    for number in range(5):
        desk.store.requests.note(desk.clock(), "refused", {"why": str(number)}, person=GUS, request=request)
    told, since = desk.audit.read(ALICE, CHANNEL, HOUR)
    assert (len(told), desk.clock() - since >= timedelta(hours=1)) == (6, True)
    monkeypatch.setattr("bot.closing.audit_query.MOST", 3)
    told, since = desk.audit.read(ALICE, CHANNEL, HOUR)
    assert [one.entry.details["why"] for one in told] == ["2", "3", "4"]
    assert since == told[0].entry.at, "not since as long as was asked for"


def test_what_is_older_than_was_asked_for_is_not_told(desk: Desk) -> None:
    ask(desk, *sleepers(desk, 1))
    desk.clock.ahead += timedelta(minutes=59)
    assert [one.entry.event for one in desk.audit.read(ALICE, CHANNEL, HOUR)[0]] == ["request"]
    desk.clock.ahead += timedelta(minutes=2)
    assert desk.audit.read(ALICE, CHANNEL, HOUR)[0] == []


def test_a_look_at_a_whole_sql_is_on_record_for_those_who_may_see_its_tenant(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    (found,) = desk.sessions.source("demo").find(session, None)
    desk.audit.note_sql_view(BOB, CHANNEL, found)
    told, _since = desk.audit.read(ALICE, CHANNEL, replace(HOUR, by=BOB.id, tenant="sys", source="demo"))
    (entry,) = (one.entry for one in told)
    assert (entry.event, entry.person, entry.channel, entry.source) == ("view sql", BOB, CHANNEL, "demo")
    assert (entry.details["id"], entry.details["tenant"]) == (session, "sys")
    assert desk.audit.read(CAROL, CHANNEL, HOUR)[0] == []


def test_of_a_request_over_several_tenants_all_must_be_seen(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 2))
    tamper(desk, request, 1, tenant="billing")

    def seen(tenants: set[str]) -> list[ClosingRequest]:
        return desk.requests.recent(5, lambda _source, tenant: tenant in tenants)[0]

    assert [len(seen(tenants)) for tenants in ({"sys"}, {"billing"}, {"sys", "billing"})] == [0, 0, 1]


def test_where_a_reason_is_required_blanks_are_none(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    query = SessionQuery(source="demo", filter=SessionFilter())
    rules = replace(desk.rules, require_reason=True)
    requests = ClosingRequests(desk.sessions, desk.requests._access, desk.store, rules, desk.clock, desk.adviser)
    for reason in ("", "  "):
        with pytest.raises(InputError, match="A reason is required") as told:
            requests.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, reason=reason)
        assert told.value.example == f'/kill-session {session} reason="blocks the payments"'
        with pytest.raises(InputError, match="A reason is required"):
            requests.ask_where(ALICE, CHANNEL, query, Mode.SESSION, filter_text="user=app", reason=reason)
    (made,) = requests.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, reason="it blocks everybody")
    assert made.reason == "it blocks everybody"


def told_to_carol(desk: Desk) -> list[str]:
    """What is told to somebody who sees the tenant sys alone."""
    rule = Rule(frozenset({CAROL.id}), frozenset({Right.VIEW}), tenants=frozenset({"sys"}))
    access = Access([rule], Nobody())
    audit = AuditTrail(desk.store, access, Disclosures(access, desk.sessions, {}), desk.clock)
    return [one.entry.event for one in audit.read(CAROL, CHANNEL, HOUR)[0]]


@pytest.mark.parametrize(
    ("tenants", "seen"),
    [((), True), (("sys",), True), (("billing",), False), (("sys", "billing"), False), ((None,), False)],
)
def test_a_record_is_seen_by_who_sees_each_tenant_that_what_is_left_untouched_names(
    desk: Desk, tenants: tuple[str | None, ...], seen: bool
) -> None:
    request = replace(ask(desk, *sleepers(desk, 1)), id="another")
    desk.store.requests.add(replace(request, untouched=(Untouched(5, None, "is protected.", tenants),)))
    assert told_to_carol(desk) == ["request", *(["request"] if seen else [])]


def test_an_older_record_does_not_say_which_tenants_that_were_and_is_seen_by_who_sees_all(desk: Desk) -> None:
    older = Entry(
        1,
        desk.clock(),
        "request",
        ALICE,
        CHANNEL,
        "demo",
        "r",
        {"targets": [{"id": 5, "tenant": "sys"}], "untouched": [{"session_id": 6, "server": None, "why": "is idle."}]},
        "",
    )
    assert tenants_of(AuditRecord(older, None)) == {"sys", None}


def test_a_record_is_judged_by_what_it_named_when_it_was_written_too(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 2))
    desk.store.requests.note(desk.clock(), "refused", {"why": "You may not."}, person=GUS, request=request)
    assert told_to_carol(desk) == ["request", "refused"]
    other = replace(request, id="another", targets=tuple(_of_billing(one) for one in request.targets))
    desk.store.requests.add(other)
    desk.store.requests.note(desk.clock(), "refused", {"why": "You may not."}, person=GUS, request=other)
    for number in (1, 2):
        tamper(desk, other, number, tenant="sys")  # as if those targets had gone to another request
    assert told_to_carol(desk) == ["request", "refused"]


def test_a_record_that_names_nothing_is_seen_by_who_sees_all(desk: Desk) -> None:
    gone = Entry(1, desk.clock(), "confirm", ALICE, CHANNEL, "demo", "r", {"mode": "session"}, "")
    assert tenants_of(AuditRecord(gone, None)) == {None}


def _of_billing(target: Target) -> Target:
    return replace(target, session=replace(target.session, tenant="billing"))


def test_a_request_puts_on_record_of_which_tenants_what_it_leaves_is(desk: Desk) -> None:
    (idle,) = sleepers(desk, 1)
    guarded, running = session_id(desk.connect("guarded")), desk.runs("SELECT SLEEP(60)")
    wanted = [Wanted(running.id), Wanted(idle), Wanted(guarded), Wanted(4_000_000_000)]
    request = desk.ask(ALICE, CHANNEL, "demo", wanted, Mode.QUERY)
    assert [(one.session_id, one.tenants) for one in request.untouched] == [
        (idle, ("sys",)),
        (guarded, ("sys",)),
        (4_000_000_000, ()),
    ]
    narrowed = desk.ask(ALICE, CHANNEL, "demo", [Wanted(running.id)], Mode.QUERY, tenant="sys")
    assert narrowed.untouched == ()
    (_, details), *_ = record_of(desk, request)
    assert [one["tenants"] for one in details["untouched"]] == [["sys"], ["sys"], []]
    with contextlib.closing(sqlite3.connect(desk.path)) as store:
        (kept,) = store.execute("SELECT untouched FROM closing_requests WHERE id = ?", (request.id,)).fetchone()
    older = json.loads(kept)
    assert [sorted(one) for one in older] == [["server", "session_id", "why"]] * 3, "what an older version can read"
