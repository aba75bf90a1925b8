"""Sessions as the store keeps them: flat, so that every version of the bot reads what any other has written."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from typing import Any

from bot.sessions.model import Client, Session, Transaction

_CLIENT = {one.name: "client_info" if one.name == "info" else one.name for one in fields(Client)}


def flat(session: Session) -> dict[str, Any]:
    """Return everything of a session in one level."""
    values = asdict(session)
    client, transaction = values.pop("client"), values.pop("transaction") or {}
    values |= {name: client[part] for part, name in _CLIENT.items()}
    return values | {f"transaction_{part}": transaction.get(part) for part in ("id", "state", "started")}


def as_json(session: Session) -> str:
    """Return a session as a column keeps it."""
    return json.dumps(flat(session))


def from_json(text: str) -> Session:
    """Read a session that another version of the bot may have written.

    What it did not know is None, which no pin matches: such a session is not closed.
    """
    kept = json.loads(text)
    kept["servers"] = tuple(kept.get("servers", ()))  # JSON knows lists only
    number, state = kept.get("transaction_id"), kept.get("transaction_state")
    kept["transaction"] = Transaction(number, state, kept.get("transaction_started")) if number or state else None
    client = {part: kept[name] for part, name in _CLIENT.items() if kept.get(name) is not None}
    kept["client"] = Client(**client)
    return Session(
        **{one.name: kept.get(one.name) for one in fields(Session) if one.name in kept or one.default is MISSING}
    )
