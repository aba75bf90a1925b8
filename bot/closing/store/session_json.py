"""How sessions are kept in the store: flat JSON, which replicas of other versions read as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from bot.sessions.model import Client, Session, Transaction
from bot.sessions.statement import KEPT_SQL, Disclosure, Statement
from bot.sessions.waits.advice import Action, Advice

_PARTS = ("client", "statement", "transaction", "last_statement")  # the last is not kept
# What is kept of the parts, each by itself as all versions have it.
_CLIENT = {one.name: "client_info" if one.name == "info" else one.name for one in fields(Client)}
_TRANSACTION = {one.name: f"transaction_{one.name}" for one in fields(Transaction)}
_ADVICE = "advice"  # beside the session of a target; versions that do not know it leave it
_FLAGS = ("guessed", "prepared")  # of advice
_INSTEAD = 3  # sessions that are kept of those advised to be closed instead
_SQL, _LENGTH, _SQL_ID, _INNER = "sql", "sql_length", "sql_id", "inner_sql"


def kept(session: Session, most: int = KEPT_SQL) -> dict[str, Any]:
    """Return what is kept of a session: of what it runs so many characters, no password, no guessable ID."""
    flat = {one.name: getattr(session, one.name) for one in fields(Session) if one.name not in _PARTS}
    flat |= {name: getattr(session.client, part) for part, name in _CLIENT.items()}
    flat |= {name: getattr(session.transaction, part, None) for part, name in _TRANSACTION.items()}
    return flat | _kept_statement(session.statement, most)


def written(session: Session, advice: Advice | None = None) -> str:
    """Return the same as text, for a column, with the advice on it."""
    return json.dumps(kept(session) | ({_ADVICE: _kept_advice(advice)} if advice is not None else {}))


def read(text: str) -> Session:
    """Read a session that another version of the bot may have written.

    What it did not know is None, which no pin matches: such a session is not closed.
    """
    flat = json.loads(text)
    flat["servers"] = tuple(flat.get("servers", ()))  # JSON knows lists only
    transaction = {part: flat.get(name) for part, name in _TRANSACTION.items()}
    flat |= {
        "client": Client(**{part: flat[name] for part, name in _CLIENT.items() if flat.get(name) is not None}),
        "statement": _statement(flat),
        "transaction": Transaction(**transaction) if transaction["id"] or transaction["state"] else None,
    }
    return Session(
        **{one.name: flat.get(one.name) for one in fields(Session) if one.name in flat or one.default is MISSING}
    )


def read_advice(text: str) -> Advice | None:
    """Read the advice that was written with a session; None where there is none."""
    flat = json.loads(text).get(_ADVICE)
    if flat is None or flat["action"] not in Action.__members__:  # another version may know more
        return None
    instead = tuple(read(json.dumps(one)) for one in flat["instead"])
    action, held_up = Action[flat["action"]], flat["held_up"]
    flags = {name: flat.get(name, False) for name in _FLAGS}  # some came later than others
    return Advice(action, flat["reason"], instead, flat["past"], flat["then"], held_up=held_up, **flags)


def advice_as_kept(advice: Advice) -> Advice:
    """Return advice as it will be read back: what those run who are to be closed instead is not kept."""
    sessions = [one for one in advice.instead if isinstance(one, Session)][:_INSTEAD]
    return replace(advice, instead=tuple(replace(as_kept(one), statement=None) for one in sessions), closed=None)


def as_kept(session: Session) -> Session:
    """Return the session as it will be read back from the store."""
    statement = _statement(_kept_statement(session.statement, KEPT_SQL))
    return replace(session, statement=statement, last_statement=None)


def without_statement(text: str) -> str:
    """Return what was written, without what the session ran."""
    return json.dumps(json.loads(text) | {_SQL: None, _INNER: None, _SQL_ID: None})


def _kept_advice(advice: Advice) -> dict[str, Any]:
    flat = {"action": advice.action.name, "reason": advice.reason, "past": advice.past, "then": advice.then}
    return (
        flat
        | {"held_up": advice.held_up, **{name: getattr(advice, name) for name in _FLAGS}}
        | {"instead": [kept(one) for one in advice.instead if isinstance(one, Session)]}
    )


def _kept_statement(statement: Statement | None, most: int) -> dict[str, Any]:
    if statement is None:
        return {_SQL: None, _LENGTH: 0, _SQL_ID: None, _INNER: None}
    inner = statement.inner
    return {
        _SQL: statement.shown(Disclosure.ALL_BUT_PASSWORDS, most),
        _LENGTH: statement.length,
        _SQL_ID: statement.sql_id(Disclosure.DIGEST),
        _INNER: inner.shown(Disclosure.ALL_BUT_PASSWORDS, most) if inner is not None else None,
    }


def _statement(flat: Mapping[str, Any]) -> Statement | None:
    if not flat.get(_SQL):
        return None
    return Statement.of(flat[_SQL], length=flat.get(_LENGTH) or 0, sql_id=flat.get(_SQL_ID), inner=flat.get(_INNER))
