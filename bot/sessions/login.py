"""Names that people log in with: an OBProxy takes them in several forms, a server of the cluster in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_SEPARATORS = ":-."  # what may stand between the parts of cluster:tenant:user; OBProxy's username_separator


@dataclass(frozen=True, slots=True)
class Login:
    """Who is logged in: a user as lists of sessions show it, and its tenant, None where none is named."""

    user: str
    tenant: str | None = None

    @classmethod
    def read(cls, name: str) -> Self:
        """Take a name apart as an OBProxy does (docs/oceanbase.md 4.2).

        What is no form of an OBProxy's is a user. Without a proxy a user may be called like one: whether it is, only
        the server tells.

        >>> Login.read("bot@sys#main:7"), Login.read("main:sys:bot:7")
        (Login(user='bot', tenant='sys'), Login(user='bot', tenant='sys'))
        >>> Login.read("bot#main"), Login.read("main:bot")
        (Login(user='bot', tenant=None), Login(user='main:bot', tenant=None))
        """
        if "@" in name or "#" in name:
            user, _, tenant = name.partition("#")[0].partition("@")
            return cls(user, tenant or None)
        between = next((one for one in _SEPARATORS if name.count(one) > 1), None)
        if between is None:
            return cls(name)
        _, tenant, user = name.split(between, 2)
        return cls(user.partition(between)[0].partition(":")[0], tenant or None)

    @property
    def direct(self) -> str:
        """The name as every server of the cluster takes it."""
        return f"{self.user}@{self.tenant}" if self.tenant else self.user
