"""What of an act's details is shown, whatever version of the bot has written them: as View SQL shows statements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bot.sessions.masking import digest, without_secrets
from bot.sessions.statement import Disclosure, Statement

_CLIENT_TEXTS = ("module", "action", "client_info")  # what clients tell of themselves, to whomever it is shown
_OWN = re.compile(r"KILL (?:QUERY )?(?:ID )?\d+")  # what the bot has sent
# What is searched for in statements may be what they hold.
_SEARCHED = re.compile(r'(?i)(?<!\S)(sql(?:-id)?[=!<>]+)(?:"(?:[^"]|"")*"|\S+)')
# OceanBase's id of a statement whose literals do not count. Those of older versions for other servers were hashes of
# whole texts, as its own is of what has no parameters.
_SQL_ID = re.compile(r"[0-9A-F]{32}")
_PARAMETERISED = re.compile(r"(?i)\(*\s*(?:select|insert|update|delete|replace|with|call)\b")


def shown(details: Mapping[str, Any], disclosure: Disclosure) -> dict[str, Any]:
    """Return the details of one act as somebody sees them to whom that is disclosed.

    No hash of the chain: with any two of them a guess at what is hidden between could be tried.
    """
    shown = _texts(details, disclosure)
    shown.pop("hash", None)
    if "targets" in shown:
        shown["targets"] = [_texts(one, disclosure) for one in shown["targets"]]
    if shown.get("question") and not disclosure.literals:
        shown["question"] = digest(_SEARCHED.sub(r"\1?", shown["question"]))
    return shown


def _texts(details: Mapping[str, Any], disclosure: Disclosure) -> dict[str, Any]:
    shown = dict(details)
    for name in _CLIENT_TEXTS:
        if shown.get(name):
            shown[name] = without_secrets(str(shown[name]))
    sql, inner = shown.get("sql"), shown.get("inner_sql")
    statement = None
    if sql and not _OWN.fullmatch(sql):
        statement = Statement.of(sql, length=shown.get("sql_length"), sql_id=shown.get("sql_id"), inner=inner)
        shown["sql"] = statement.shown(disclosure)
    if statement is not None and statement.inner is not None:
        shown["inner_sql"] = statement.inner.shown(disclosure)
    if shown.get("sql_id"):
        shown["sql_id"] = _sql_id(shown["sql_id"], statement)
    return shown


def _sql_id(sql_id: str, statement: Statement | None) -> str | None:
    """Return an id that no text can be guessed by; whose text was cut or had a password is not known any more."""
    if statement is None or not _SQL_ID.fullmatch(sql_id):
        return None
    runs = (statement.inner or statement).shown(Disclosure.DIGEST)
    return statement.sql_id(Disclosure.DIGEST) if _PARAMETERISED.match(runs) else None
