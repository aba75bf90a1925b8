"""Where a data source is and how to log in to it."""

from __future__ import annotations

from dataclasses import dataclass

# Seconds. The server is asked to give up first, so that its own message arrives; reading gives up
# for servers that hang. Together they stay well inside the half hour that an answer may take.
CONNECT_TIMEOUT = 3
STATEMENT_TIMEOUT = 5
READ_TIMEOUT = 6


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a data source is and how to log in; ``password`` never shows in a repr."""

    name: str
    host: str
    port: int
    user: str
    password: _Secret

    @classmethod
    def of(cls, name: str, host: str, port: int, user: str, password: str) -> Endpoint:
        """Wrap a plain password."""
        return cls(name, host, port, user, _Secret(password))


class _Secret(str):
    """A text whose repr says nothing, for tracebacks and dataclass reprs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**'"
