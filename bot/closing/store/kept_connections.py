"""The connections of the store's engine while they are kept: tried where they were idle, replaced when they are old.

As those of a data source (``bot.sessions.pool``): none is given up for its age before its successor has logged in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from bot.sessions.database import READ_ONLY_ERRORS, SignOfLife
from bot.sessions.pool import AGAIN, IDLE, MAX_AGE, SIGN_OF_LIFE

_SUCCESSOR = "successor"  # what a pool's entry keeps for the next connection that is wanted of it
_HOW = "how"  # and how that is opened


class KeptConnections:
    """Looks after an engine's connections, which ``connect`` opens."""

    def __init__(self, engine: sa.Engine, connect: Callable[[Mapping[str, Any]], Any]) -> None:
        self._connect = connect
        sa.event.listen(engine, "do_connect", self._open)
        sa.event.listen(engine, "connect", self._opened)
        sa.event.listen(engine, "checkin", self._used)
        sa.event.listen(engine, "checkout", self._usable)
        sa.event.listen(engine, "handle_error", self._failed)

    def _open(self, _dialect: object, entry: ConnectionPoolEntry, _positional: object, named: Mapping[str, Any]) -> Any:
        lasting = _lasting(entry)
        lasting[_HOW] = dict(named)
        return lasting.pop(_SUCCESSOR, None) or self._connect(named)

    def _opened(self, raw: Any, entry: ConnectionPoolEntry) -> None:
        entry.info["opened"] = monotonic()
        entry.info["life"] = SignOfLife(raw)

    def _used(self, _raw: object, entry: ConnectionPoolEntry) -> None:
        entry.info["used"] = monotonic()

    def _usable(self, _raw: object, entry: ConnectionPoolEntry, _proxy: object) -> None:
        """Let the pool take a successor that has logged in, where the connection is old or gives no sign of life."""
        info, now = entry.info, monotonic()
        if "used" not in info:
            return  # it has just been opened
        if now - info["opened"] > MAX_AGE.total_seconds():
            try:
                self._succeed(entry)
            except Exception:  # noqa: BLE001  # whatever the driver raises: the old one may do for a while
                info["opened"] = monotonic() - MAX_AGE.total_seconds() + AGAIN
            else:
                raise DisconnectionError("it is old, and has a successor")
        if now - info["used"] > IDLE:
            try:
                alive = info["life"].comes_within(SIGN_OF_LIFE)
            except Exception:  # noqa: BLE001  # whatever it is, nobody is there
                alive = False
            if not alive:
                raise DisconnectionError("it gives no sign of life")

    def _succeed(self, entry: ConnectionPoolEntry) -> None:
        lasting = _lasting(entry)
        lasting[_SUCCESSOR] = self._connect(lasting[_HOW])

    def _failed(self, context: sa.engine.ExceptionContext) -> None:
        """Leave a server that takes no writes: its address may lead to another one by now."""
        errno = getattr(context.original_exception, "args", ())[:1]
        if errno and errno[0] in READ_ONLY_ERRORS:
            context.is_disconnect = True


def _lasting(entry: ConnectionPoolEntry) -> dict[Any, Any]:
    """Return what a pool's entry keeps from one of its connections to the next."""
    lasting = entry.record_info
    assert lasting is not None  # noqa: S101  # so in SQLAlchemy's types, of what has no entry
    return lasting
