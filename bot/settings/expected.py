"""What a key takes, in words made from the types of ``Settings``, so that nothing has to be said twice."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bot.settings.sections import Settings

Keys = tuple[str | int, ...]  # the way to a key: sections, names and places in lists, from the top


def expected(keys: Keys) -> str:
    """Say what stands at these keys, as the rest of "must be"; '' where there is nothing of that name.

    >>> expected(("data_sources", "prod", "port"))
    'a whole number from 1 to 65535'
    >>> expected(("closing", "confirm_within"))
    'a duration from 5s to 1h, such as 90s or 5m'
    >>> expected(("store", "keep"))
    'a duration of at least 1d, such as 30d'
    >>> expected(("access", 0, "may"))
    'a list of "view", "close" or "approve", such as ["view"]'
    >>> expected(("access", 0))
    'a section below a line [[access]] in two brackets'
    """
    found = _at(keys)
    return _in_words(keys, *found) if found is not None else ""


def in_json(keys: Keys) -> str:
    """Give an example of what a variable of these keys holds where that is JSON.

    >>> in_json(("data_sources", "prod", "tenants"))
    '["NAME"]'
    """
    if keys == ("access",):
        return '[{"who": ["U0123456789"], "may": ["view"]}]'
    found = _at(keys)
    kind: Any = get_origin(found[0]) if found is not None else None
    return '["NAME"]' if kind is frozenset else '{"KEY": "VALUE"}'


def is_setting(keys: Keys) -> bool:
    """Whether there is such a key; names of data sources, channels and tenants may be any."""
    return _at(keys) is not None


def keys_of(section: Keys) -> list[str]:
    """Return the keys that may stand in a section, [] for what is none."""
    found = _at(section)
    return list(found[0].model_fields) if found is not None and _is_section(found[0]) else []


def sections_with(key: str) -> list[str]:
    """Return the headers of the sections that have this key, '' standing for the top of the file."""
    return [header for header, section in _HEADERS.items() if key in keys_of(section)]


_HEADERS: dict[str, Keys] = {
    "": (),
    "[data_sources.NAME]": ("data_sources", "NAME"),
    "[[access]]": ("access", 0),
    "[channels.ID]": ("channels", "ID"),
    "[closing]": ("closing",),
    "[store]": ("store",),
    "[triage]": ("triage",),
}

_Type = tuple[Any, Sequence[Any]]  # a type, and what is said of its values


def _at(keys: Keys) -> _Type | None:
    found: _Type = (Settings, ())
    for key in keys:
        inner = _inside(found[0], key)
        if inner is None:
            return None
        found = inner
    return found


def _inside(outer: Any, key: str | int) -> _Type | None:
    if _is_section(outer):
        field = outer.model_fields.get(key)
        return _plain(field.annotation, field.metadata) if field is not None else None
    kind, arguments = get_origin(outer), get_args(outer)
    if kind is dict and isinstance(key, str):
        return _plain(arguments[1])
    return _plain(arguments[0]) if kind in (list, frozenset) and isinstance(key, int) else None


def _plain(annotation: Any, metadata: Sequence[Any] = ()) -> _Type:
    """Take a type out of its ``Annotated`` and its ``| None``."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        return _plain(annotation, [*metadata, *_said_by(more)])
    if get_origin(annotation) in (Union, types.UnionType):
        return _plain(next(one for one in get_args(annotation) if one is not types.NoneType), metadata)
    return annotation, metadata


def _said_by(metadata: Sequence[Any]) -> Iterator[Any]:
    for one in metadata:
        yield from one.metadata if isinstance(one, FieldInfo) else [one]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _in_words(keys: Keys, kind: Any, metadata: Sequence[Any]) -> str:
    if _is_section(kind):
        below = isinstance(keys[-1], int)
        return f"a section{f' below a line [[{keys[0]}]] in two brackets' if below else f', {_header(keys)}'}"
    if get_origin(kind) is dict:
        if _is_section(_plain(get_args(kind)[1])[0]):
            return f"sections, such as {_header((*keys, 'ID' if keys == ('channels',) else 'NAME'))}"
        return f'a section, {_header(keys)}, with lines such as NAME = "requester"'
    if get_origin(kind) is list:
        return f"sections, each below a line [[{keys[0]}]] in two brackets"
    if get_origin(kind) is frozenset:
        return _list_in_words(keys, _plain(get_args(kind)[0])[0], metadata)
    return _value_in_words(kind, metadata)


def _list_in_words(keys: Keys, kind: Any, metadata: Sequence[Any]) -> str:
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return f'a list of {_one_of(choices)}, such as ["{choices[0]}"]'
    example = (
        "10.0.0.0/24"
        if kind is IPv4Network
        else {"who": "U0123456789", "channels": "C0123456789"}.get(str(keys[-1]), "NAME")
    )
    texts = "at least one text" if any(isinstance(one, MinLen) for one in metadata) else "texts"
    return f'a list of {texts}, such as ["{example}"]'


def _value_in_words(kind: Any, metadata: Sequence[Any]) -> str:
    if get_origin(kind) is Literal:
        return _one_of(get_args(kind))
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"a whole number{_bounds(metadata)}"
    if kind is timedelta:
        days = any(isinstance(one, Ge) and one.ge >= timedelta(days=1) for one in metadata)
        return f"a duration{_bounds(metadata)}, such as {'30d' if days else '90s or 5m'}"
    if any(isinstance(one, MinLen) for one in metadata):
        return "a text in quotes that is not empty"
    return "a text in quotes"


def _one_of(choices: Sequence[str]) -> str:
    *first, last = (f'"{one}"' for one in choices)
    return f"{', '.join(first)} or {last}" if first else last


def _bounds(metadata: Sequence[Any]) -> str:
    least = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    most = next((one.le for one in metadata if isinstance(one, Le)), None)
    if least is None:
        return ""
    return f" of at least {as_written(least)}" if most is None else f" from {as_written(least)} to {as_written(most)}"


def as_written(bound: object) -> str:
    """Write a value as it would be written in the file; a duration in its largest whole unit."""
    if not isinstance(bound, timedelta):
        return str(bound)
    seconds = int(bound.total_seconds())
    return next((f"{seconds // unit}{name}" for unit, name in _UNITS if seconds and seconds % unit == 0), "0s")


_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def _header(keys: Keys) -> str:
    return f"[{'.'.join(map(str, keys))}]"
