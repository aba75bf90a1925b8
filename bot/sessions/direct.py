"""Closing on a session's own server what a proxy in front of the cluster does not reach (OCEANBASE.md 2.3, 2.5)."""

from __future__ import annotations

from collections.abc import Sequence

from bot.errors import DataSourceError, SessionOutOfReachError, UnknownSessionError
from bot.sessions.database import connected
from bot.sessions.dialect import Dialect
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Mode, Pin, Session

_UNKNOWN_THREAD = 1094
# What KILL answers of an id that stands in the list: a proxy knows only those that went through itself;
# a server has found two sessions of that id.
OUT_OF_REACH = (_UNKNOWN_THREAD, 4016)


def kill_directly(
    proxy: Endpoint, prepare: Sequence[str], dialect: Dialect, session: Session, mode: Mode, why: DataSourceError
) -> None:
    """Log in to the session's server, look whether it is the same there, and close it or its query.

    ``why`` is what the proxy said. Raises ``SessionOutOfReachError`` when that server cannot be asked,
    ``UnknownSessionError`` when the session has gone, a bare ``DataSourceError`` when there is no
    other address to try, else what the ``KILL`` raises.
    """
    server = proxy.at(session.server)
    if server is None:
        # Without a proxy it is a session that is just ending: looking on will tell.
        raise DataSourceError(f"{why} Yet it was still listed then.", errno=why.errno) from why
    asked = False
    try:
        with connected(server, prepare) as connection:
            look = dialect.by_id(session.id)
            found = [dialect.to_session(proxy.name, row) for row in connection.rows(look.sql, look.values)]
            asked = True
            if not is_among(found, session, mode):
                raise UnknownSessionError(f"{session.server} has no such session.", errno=_UNKNOWN_THREAD)
            connection.rows(dialect.kill(session, mode).sql)
    except DataSourceError as error:
        if asked:
            raise
        raise SessionOutOfReachError(
            f"{proxy.name} does not know session {session.id} (a proxy knows only its own), and the session's server "
            f"could not be asked. Nothing was closed. {error}",
            errno=error.errno,
        ) from error


def is_among(found: Sequence[Session], session: Session, mode: Mode) -> bool:
    """Whether the same session, for a query also its same run, is among those found."""
    pin = Pin.of(session)
    same = pin.same_request if mode is Mode.QUERY else pin.same_session
    return any(same(one) for one in found)
