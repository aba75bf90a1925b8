"""Override: closing one protected session because somebody who may approve agrees, and what it never reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State
from bot.closing.targets import Wanted, refuse_protected
from bot.errors import InputError, NotAllowedError, TargetError
from bot.sessions.model import Mode, Session
from tests.closing.conftest import ALICE, BOB, CAROL, CHANNEL, DORA, Desk, record_of, tamper
from tests.closing.several import confirm, outcomes, sleepers
from tests.support.sessions import like
from tests.support.stage import session_id


def ask(desk: Desk, *sessions: int, reason: str = "it blocks everybody") -> ClosingRequest:
    wanted = [Wanted(one) for one in sessions]
    return desk.ask(ALICE, CHANNEL, "demo", wanted, Mode.SESSION, reason=reason, override=True)


def seen_as(desk: Desk, **changes: Any) -> Session:
    """A session that the server shows so: one machine has no other tenants, replicas or parts of sessions."""
    (found,) = desk.sessions.source("demo").find(session_id(desk.connect()), None)
    changed = like(found, **changes)
    desk.sessions.source("demo").find_all = lambda *_: [changed]  # type: ignore[method-assign]  # same
    return changed


def tagged(desk: Desk, module: str = "", client_info: str = "") -> int:
    connection = desk.connect()
    with connection.cursor() as cursor:
        cursor.execute("CALL dbms_application_info.set_module(%s, '')", (module,))
        cursor.execute("CALL dbms_application_info.set_client_info(%s)", (client_info,))
    return session_id(connection)


def by_user(desk: Desk) -> int:
    return session_id(desk.connect("guarded"))


def by_module(desk: Desk) -> int:
    desk.protect(modules=["Ledger"])
    return tagged(desk, module="LEDGER")


def by_client_info(desk: Desk) -> int:
    return tagged(desk, client_info="OBShell")


def by_source(desk: Desk) -> int:
    desk.protect(sources=["10.0.0.0/8", "127.0.0.41/32", "::1/128"])
    return session_id(desk.connect(bind_address="127.0.0.41"))


@pytest.mark.parametrize(
    ("protected", "why"),
    [
        (by_user, "belongs to guarded, a protected user of demo"),
        (by_module, "is tagged LEDGER, a protected module of demo"),
        (by_client_info, "is tagged OBShell, a protected module of demo"),
        (by_source, "comes from 127.0.0.41, a protected source of demo"),
    ],
)
def test_a_protected_session_is_closed_by_whoever_may_approve_and_the_record_says_why_it_was_protected(
    desk: Desk, protected: Callable[[Desk], int], why: str
) -> None:
    session = protected(desk)
    with pytest.raises(TargetError, match=f"Session {session} {why}: closing it could harm"):
        desk.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, reason="it blocks everybody")
    request = ask(desk, session)
    assert request.override == (why,)
    for nobody in (ALICE, CAROL):
        with pytest.raises(NotAllowedError, match="You may not approve closing sessions on demo"):
            confirm(desk, request, person=nobody)
    assert desk.row(session)
    assert outcomes(confirm(desk, request, person=DORA)) == [Outcome.CLOSED]
    assert desk.row(session) == {}
    details = dict(record_of(desk, request))["request"]
    assert (details["override"], details["reason"]) == (why, "it blocks everybody")


def test_the_metadata_tenants_are_protected_and_can_be_overridden(desk: Desk) -> None:
    session = seen_as(desk, tenant="META$1002")
    assert ask(desk, session.id).override == ("is of tenant META$1002, which holds the cluster's metadata, on demo",)
    assert session.tenant is not None
    refuse_protected(desk.sessions, replace(session, tenant="meta$x"))  # tenants differ by case: another one


@pytest.mark.parametrize("why", ["", "  "])
def test_it_needs_a_reason(desk: Desk, why: str) -> None:
    session = by_user(desk)
    with pytest.raises(InputError, match="override needs a reason"):
        ask(desk, session, reason=why)


def test_it_takes_one_session_at_a_time(desk: Desk) -> None:
    with pytest.raises(InputError, match="override takes one session at a time"):
        ask(desk, by_user(desk), by_user(desk))
    session = by_user(desk)
    assert len(ask(desk, session, session).targets) == 1, "one session named twice is one"


def test_it_is_not_for_a_session_that_is_not_protected(desk: Desk) -> None:
    desk.protect("Teller", modules=["Ledger"], sources=["127.0.0.42"])
    (session,) = sleepers(desk, 1)
    with pytest.raises(TargetError, match=rf"is not protected.*/kill-session {session}$"):
        ask(desk, session)


def test_what_is_nobodys_session_is_never_closed(desk: Desk) -> None:
    with desk.sessions.source("demo").console() as console:
        (own,) = console.find(int(console._connection.id))
    for session, why in (
        (own, "one of this bot's own"),
        (seen_as(desk, user=""), "belongs to the database itself"),
        (seen_as(desk, user="", master_session_id=77), "executes a part of session 77"),
        (seen_as(desk, master_session_id=77), "executes a part of session 77"),
    ):
        desk.sessions.source("demo").find_all = lambda *_, session=session: [session]  # type: ignore[method-assign]  # as seen_as
        with pytest.raises(TargetError, match=f"{why}.*Nothing was closed"):
            ask(desk, session.id)


@pytest.mark.parametrize(("user", "command"), [("repl", "Binlog Dump"), ("system user", "Connect")])
def test_the_servers_own_threads_and_replication_are_never_closed(desk: Desk, user: str, command: str) -> None:
    source = desk.sessions.source("demo")
    source.description()
    assert source._dialect is not None
    source._dialect = replace(source._dialect, thread_users=frozenset({"system user"}))  # as MySQL has them
    session = seen_as(desk, user=user, command=command)
    with pytest.raises(TargetError, match=r"a thread of the server itself .*never closed"):
        ask(desk, session.id)


def test_an_override_stands_for_that_session_alone_and_not_for_another_one_of_its_id(desk: Desk) -> None:
    session = by_user(desk)
    request = ask(desk, session)
    tamper(desk, request, 1, peer="127.0.0.1:1")
    assert outcomes(confirm(desk, request, person=BOB)) == [Outcome.CHANGED]
    assert desk.row(session)


def test_an_override_where_a_second_person_is_wanted_takes_one(two_person_desk: Desk) -> None:
    desk = two_person_desk
    session = by_user(desk)
    request = desk.ask(
        BOB, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, reason="it blocks everybody", override=True
    )
    assert request.approval is ApprovalPolicy.SECOND_PERSON
    with pytest.raises(NotAllowedError, match="needs a second person"):
        confirm(desk, request, person=BOB)
    assert outcomes(confirm(desk, request, person=DORA)) == [Outcome.CLOSED]


def test_without_an_override_a_press_does_not_close_what_has_become_protected(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION)
    desk.protect(sources=["127.0.0.0/8"])
    done = confirm(desk, request, person=BOB)
    assert outcomes(done) == [Outcome.PROTECTED]
    assert "comes from 127.0.0.1" in done.targets[0].detail
    assert done.state is State.DONE
    assert desk.row(session)
