"""Who may view, close and approve what, and where. Pure rules; whatever no rule allows is denied."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.errors import NotAllowedError

EVERYBODY = "*"  # every full member of the workspace


class Right(enum.Enum):
    """What a rule can allow."""

    VIEW = "view"
    CLOSE = "close"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, taken from Slack's payload and nothing else; names are for reading only."""

    id: str
    team: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowance. ``None`` means no restriction."""

    who: frozenset[str]  # Slack user ids, user-group ids (S…), or EVERYBODY
    may: frozenset[Right]
    data_sources: frozenset[str] | None = None
    tenants: frozenset[str] | None = None
    channels: frozenset[str] | None = None

    def covers(self, right: Right, source: str, tenant: str | None) -> bool:
        """Whether it allows that for a session of that tenant, in some channel."""
        return (
            right in self.may
            and (self.data_sources is None or source in self.data_sources)
            and Scope(self.tenants).covers(tenant)
        )


class Directory(Protocol):
    """What Slack knows of people. Both answers are False whenever Slack does not say."""

    def is_full_member(self, person: Person) -> bool:
        """Whether this is a full member of the bot's own workspace: no guest, bot or stranger."""

    def is_in_group(self, person: Person, group: str) -> bool:
        """Whether the person is in that user group."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a person may do with one data source in one channel: ``tenants`` None is every tenant."""

    tenants: frozenset[str] | None

    def covers(self, tenant: str | None) -> bool:
        """Whether a session of that tenant is within; one without a tenant only where all are."""
        return self.tenants is None or tenant in self.tenants


class Access:
    """The configured rules, asked for one person at a time."""

    def __init__(self, rules: Sequence[Rule], directory: Directory, read_only: Collection[str] = frozenset()) -> None:
        self._rules = tuple(rules)
        self._directory = directory
        self._read_only = frozenset(read_only)  # data sources on which nobody closes anything, whatever the rules say

    def scope(self, person: Person, right: Right, source: str, channel: str) -> Scope:
        """Which tenants of ``source`` the person may ``right`` from that channel.

        Raises ``NotAllowedError`` where there is none.
        """
        read_only = right is not Right.VIEW and source in self._read_only
        found = None if read_only else self._found(person, right, source, channel)
        if found is not None:
            return found
        # To somebody who may do nothing there it does not exist.
        if read_only and any(self._found(person, one, source, channel) for one in Right):
            raise NotAllowedError(
                f"Nothing is closed on {source}: its configuration says read_only. "
                "Whoever runs this bot can change that."
            )
        raise NotAllowedError(
            f"You may not {_DOES[right]} on {source} in this channel: no access rule allows it. "
            "Ask whoever runs this bot to add you to a rule; your Slack id is " + person.id + "."
        )

    def _found(self, person: Person, right: Right, source: str, channel: str) -> Scope | None:
        tenants: set[str] = set()
        for rule in self._rules:
            if not self._applies(rule, person, right, channel):
                continue
            if rule.data_sources is not None and source not in rule.data_sources:
                continue
            if rule.tenants is None:
                return Scope(None)
            tenants |= rule.tenants
        return Scope(frozenset(tenants)) if tenants else None

    def require(self, person: Person, right: Right, source: str, channel: str, tenant: str | None) -> None:
        """Raise ``NotAllowedError`` unless the person may do that to a session of that tenant."""
        if not self.scope(person, right, source, channel).covers(tenant):
            raise NotAllowedError(
                f"You may not {_DOES[right]} of tenant {tenant} on {source} in this channel: "
                "no access rule allows it. Ask whoever runs this bot; your Slack id is " + person.id + "."
            )

    def sources(self, person: Person, right: Right, names: Sequence[str], channel: str) -> list[str]:
        """Of these data sources, those where the person may do that at all.

        Raises ``NotAllowedError`` where there is none.
        """
        allowed = []
        for name in names:
            try:
                self.scope(person, right, name, channel)
            except NotAllowedError:
                continue
            allowed.append(name)
        if allowed:
            return allowed
        read_only = right is not Right.VIEW and self._read_only.issuperset(names)
        if read_only and any(self._found(person, one, name, channel) for name in names for one in Right):
            raise NotAllowedError(
                "Nothing is closed by this bot: the configuration of each data source says read_only. "
                "Whoever runs this bot can change that."
            )
        raise NotAllowedError(
            f"You may not {_DOES[right]} in this channel: no access rule allows it. "
            f"Ask whoever runs this bot to add you to a rule; your Slack id is {person.id}."
        )

    def rights(self, person: Person, source: str, channel: str) -> dict[Right, Scope]:
        """Everything that the person may do with one data source in that channel."""
        found = {}
        for right in Right:
            with contextlib.suppress(NotAllowedError):
                found[right] = self.scope(person, right, source, channel)
        return found

    def named(self, right: Right, source: str, tenants: Collection[str | None], channel: str) -> tuple[str, ...]:
        """Return the ids of people and user groups whom the rules name for all of those tenants there.

        ``EVERYBODY`` is nobody in particular and not among them.
        """
        ids: dict[str, None] = {}
        for rule in self._rules:
            here = rule.channels is None or channel in rule.channels
            if here and all(rule.covers(right, source, tenant) for tenant in tenants):
                ids.update(dict.fromkeys(sorted(rule.who - {EVERYBODY})))
        return tuple(ids)

    def rules_of(self, person: Person) -> list[Rule]:
        """Every rule that names the person, in whatever channel."""
        return [rule for rule in self._rules if self._names(rule, person)]

    def _applies(self, rule: Rule, person: Person, right: Right, channel: str) -> bool:
        if right not in rule.may or (rule.channels is not None and channel not in rule.channels):
            return False
        return self._names(rule, person)

    def _names(self, rule: Rule, person: Person) -> bool:
        if person.id in rule.who:
            return True
        if EVERYBODY in rule.who and self._directory.is_full_member(person):
            return True
        groups = (who for who in rule.who if who.startswith("S"))
        return any(self._directory.is_in_group(person, group) for group in groups)


_DOES = {
    Right.VIEW: "see sessions",
    Right.CLOSE: "close sessions",
    Right.APPROVE: "approve closing sessions",
}
