"""Sessions for tests that need no server."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from bot.sessions.model import Client, Session, Transaction

_CLIENT = {"client_info" if one.name == "info" else one.name: one.name for one in fields(Client)}
_TRANSACTION = {f"transaction_{part}": part for part in ("id", "state", "started")}


def like(session: Session, **changes: Any) -> Session:
    """Return a session that differs in those fields, its client's and its transaction's among them."""
    client = {_CLIENT[name]: changes.pop(name) for name in tuple(changes) if name in _CLIENT}
    transaction = {_TRANSACTION[name]: changes.pop(name) for name in tuple(changes) if name in _TRANSACTION}
    if client:
        changes["client"] = replace(session.client, **client)
    if transaction:
        changed = replace(session.transaction or Transaction(None, None), **transaction)
        changes["transaction"] = changed if changed.id or changed.state else None
    return replace(session, **changes)


def transaction_state(session: Session) -> str | None:
    """Return the state of its transaction; None where it has none, or the server names none."""
    return session.transaction.state if session.transaction is not None else None
