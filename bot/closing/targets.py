"""Finding what is to be closed, and judging whether it may be closed at all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from bot.errors import AlreadyClosedError, InputError, TargetError
from bot.sessions.address import same_server
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import SessionService


@dataclass(frozen=True, slots=True)
class Wanted:
    """One session as it was named or picked.

    ``server`` may leave out the port; ``listed`` tells whether a session is still the one that was picked.
    """

    id: int
    server: str | None = None
    listed: Callable[[Session], bool] | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The sessions of the ids that are wanted, those that the person may close, and, asked for once, all others too."""

    sessions: Sequence[Session]
    everywhere: Callable[[], Sequence[Session]]


@dataclass(frozen=True, slots=True)
class Search:
    """Where the sessions of one request are looked for, and what must be so of them."""

    sessions: SessionService
    source: str
    mode: Mode
    allowed: frozenset[str] | None  # the tenants that the person may close in; None: all
    ended: Callable[[Session], AlreadyClosedError]  # says of one that is ending why it is not closed again
    tenant: str | None = None
    override: bool = False  # takes a protected session, and no other

    def listed(self, wanted: Sequence[Wanted]) -> Listed:
        """Look up all that are wanted with one statement.

        Raises ``InputError`` for an id that cannot be right, or a ``DataSourceError``.
        """
        for one in wanted:
            if not 1 < one.id < 2**32:
                raise InputError(id_out_of_range(one.id))
        source, ids = self.sessions.source(self.source), [one.id for one in wanted]
        return Listed(source.find_all(ids, self.allowed), functools.cache(partial(source.find_everywhere, ids)))

    def find(self, wanted: Wanted, listed: Listed) -> Session:
        """Return the one session that is meant.

        Raises ``TargetError`` or a ``DataSourceError``.
        """
        session = self._the_one(wanted, listed)
        if wanted.listed is not None and not wanted.listed(session):
            raise TargetError(
                f"The id {wanted.id} belongs to another session by now. Nothing was closed. "
                "Press Refresh and choose again.",
                why="is the id of another session by now.",
                tenants=(session.tenant,),
            )
        self._judge_protection(session)
        if is_ending(session, self.mode):
            raise self.ended(session)
        refuse_unpinned(session)
        if self.mode is Mode.QUERY:
            _refuse_idle(session)
        return session

    def _the_one(self, wanted: Wanted, listed: Listed) -> Session:
        found = [one for one in listed.sessions if one.id == wanted.id]
        in_tenant = [one for one in found if self.tenant in (None, one.tenant)]
        here = [one for one in in_tenant if wanted.server is None or is_on(one, wanted.server)]
        if len(here) == 1:
            return here[0]
        if here:
            raise _ambiguous(wanted.id, here)
        if wanted.listed is not None:
            _refuse_what_is_not_theirs(wanted.id, wanted.listed, listed.everywhere())
        raise _missing(self.source, wanted, self.tenant, found)

    def _judge_protection(self, session: Session) -> None:
        protection = self.sessions.source(self.source).protection(session)
        refuse_protected(self.sessions, session, set_aside=protection if self.override else ())
        if self.override and not protection:
            raise TargetError(
                f"Session {session.id} is not protected. Nothing was closed. "
                f"Ask without override: /kill-session {session.id}",
                tenants=(session.tenant,),
            )


def is_ending(session: Session, mode: Mode) -> bool:
    """Whether what would be closed has been closed already, and is ending."""
    return session.ending or (mode is Mode.QUERY and session.query_ending)


def _refuse_idle(session: Session) -> None:
    if not session.running:
        what = "is idle" if session.idle else "has not logged in yet" if session.logging_in else "runs no statement"
        idle = f"{what}: it runs no query that could be closed."
        raise TargetError(
            f"Session {session.id} {idle} To close the session itself: /kill-session {session.id}",
            why=idle,
            tenants=(session.tenant,),
        )


def _refuse_what_is_not_theirs(number: int, listed: Callable[[Session], bool], everywhere: Sequence[Session]) -> None:
    """Raise ``TargetError`` where what somebody has picked in a list is there all the same: it has not ended.

    Of an id that was typed nothing is told: that would tell who may not see it that it exists.
    """
    there = next((one for one in everywhere if one.id == number and listed(one)), None)
    if there is not None:
        why = "is still there, but you may not close it here. Ask somebody who may."
        raise TargetError(f"Session {number} {why} Nothing was closed.", why=why, tenants=(there.tenant,))


def is_on(session: Session, named: str) -> bool:
    """Whether a session, or the client that it stands for, is on the server that somebody named."""
    servers = session.servers or ((session.server,) if session.server is not None else ())
    return any(same_server(named, server) for server in servers)


def refuse_unpinned(session: Session) -> None:
    """Raise ``TargetError`` for a session that could not be told from another one with its id after a restart."""
    if Pin.of(session).enough:
        return
    why = (
        "is of a client without an address and port, and this server does not say when it was started: after a "
        "restart another session with its id could not be told from it."
    )
    raise TargetError(
        f"Session {session.id} {why} Nothing was closed. Close it at the server itself.",
        why=why,
        tenants=(session.tenant,),
    )


def refuse_protected(sessions: SessionService, session: Session, *, set_aside: Collection[str] = ()) -> None:
    """Raise ``TargetError`` for a session that is never closed: the bot's own, the server's, protected ones.

    ``set_aside`` is what protects it and was said on a card: whatever else protects it still does.
    """
    never = never_closed(sessions, session)
    if never:
        raise _refused(session, never)
    left = [one for one in sessions.source(session.source).protection(session) if one not in set_aside]
    if left and set_aside:
        why = f"{', and '.join(left)}. Its card did not say so."
        raise _refused(session, why)
    if left:
        why = ", and ".join(left)
        raise TargetError(
            f"Session {session.id} {why}: closing it could harm the cluster. Nothing was closed. Where it must be, "
            f'somebody who may approve can confirm it: /kill-session {session.id} override reason="…"',
            why=f"{why}: closing it could harm the cluster.",
            tenants=(session.tenant,),
        )


def never_closed(sessions: SessionService, session: Session) -> str:
    """Say why a session is never closed, as in "is one of this bot's own. It is never closed."; '' where it may be."""
    if session.own:
        return "is one of this bot's own. It is never closed."
    if session.master_session_id:
        return (
            f"executes a part of session {session.master_session_id}. "
            f"Close that one instead: /kill-session {session.master_session_id}"
        )
    if not session.client.user:
        return "belongs to the database itself, not to a user. It is never closed."
    if sessions.source(session.source).is_thread(session):
        if session.event:
            return (
                "is a run of an event of the scheduler: it has no client, and runs again when next due. This bot never "
                f"closes it; where it must end, KILL {session.id} at the server does that."
            )
        return f"is a thread of the server itself or of replication ({session.command}). It is never closed."
    return ""


def closable(sessions: SessionService, session: Session, *, set_aside: Collection[str] = ()) -> bool:
    """Whether ``refuse_protected`` has nothing against closing it."""
    try:
        refuse_protected(sessions, session, set_aside=set_aside)
    except TargetError:
        return False
    return True


def id_out_of_range(session_id: int) -> str:
    """Say why an id cannot be right: the kernel would cut it to 32 bits and close somebody else."""
    return (
        f"{session_id} is not a session id: ids lie between 2 and 4294967295. OceanBase would cut a longer one "
        "to somebody else's id. Take it from the first column of /sessions."
    )


def _refused(session: Session, why: str) -> TargetError:
    return TargetError(f"Session {session.id} {why} Nothing was closed.", why=why, tenants=(session.tenant,))


def _missing(source: str, wanted: Wanted, tenant: str | None, found: list[Session]) -> TargetError:
    where = (f" in tenant {tenant}" if tenant else "") + (f" on server {wanted.server}" if wanted.server else "")
    hint = "It may have ended, or it is of another data source or not yours to close."
    if found:
        hint = f"There is one of tenant {found[0].tenant or '-'} on {found[0].server or '-'}, though."
    return TargetError(
        f"There is no session {wanted.id}{where} on {source} that you may close. {hint}",
        why=f"is no session{where} on {source} that you may close. {hint}",
        tenants=[*([tenant] if tenant else []), *(one.tenant for one in found)],
    )


def _ambiguous(session_id: int, here: list[Session]) -> TargetError:
    them = ", ".join(f"{one.client.user} on {one.server or '-'} (tenant {one.tenant or '-'})" for one in here)
    how = f"Name the server, as in /kill-session {session_id}@{here[0].server or 'SERVER'}"
    return TargetError(
        f"{len(here)} sessions have the id {session_id}: {them}. Nothing was closed. {how}",
        why=f"is the id of {len(here)} sessions: {them}. {how}",
        tenants=[one.tenant for one in here],
    )
