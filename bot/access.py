"""Who may view, close and approve what, and where. Pure rules; whatever no rule allows is denied."""

from __future__ import annotations

import contextlib
import enum
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from bot.errors import NotAllowedError, PersonUnknownError

EVERYBODY = "*"  # every full member of the workspace, or of the organisation that it belongs to
EVERY_TENANT = "all"  # as the digest of a scope


class Right(enum.Enum):
    """What a rule can allow."""

    VIEW = "view"
    CLOSE = "close"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, taken from Slack's payload and nothing else; names are for reading only.

    ``team`` is the workspace, or the organisation, that the payload names as theirs; '' where it names none.
    """

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
    """What Slack says of people. Each raises ``PersonUnknownError`` where it does not say."""

    def is_internal(self, person: Person) -> bool:
        """Whether this is somebody of the bot's own workspace or organisation; nobody else may do anything."""

    def is_full_member(self, person: Person) -> bool:
        """Whether this is a full member among those: no guest or bot."""

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        """Whether the person is in that user group; ``ahead`` as for ``members``."""

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        """The ids of those who are in that user group.

        Where Slack has to be asked, it is asked for all groups of ``ahead`` at once: they will be wanted next.
        """


@dataclass(frozen=True, slots=True)
class Scope:
    """What a person may do with one data source in one channel: ``tenants`` None is every tenant.

    ``unsaid`` says why it is not known whether ``perhaps`` belongs to it too; None is every tenant there as well.
    """

    tenants: frozenset[str] | None
    unsaid: PersonUnknownError | None = None
    perhaps: frozenset[str] | None = frozenset()

    def covers(self, tenant: str | None) -> bool:
        """Whether a session of that tenant is within; one without a tenant only where all are.

        Raises ``PersonUnknownError`` where that depends on what Slack did not say.
        """
        if self.tenants is None or tenant in self.tenants:
            return True
        if self.unsaid is not None and (self.perhaps is None or tenant in self.perhaps):
            raise self.unsaid
        return False

    def settled(self) -> Scope:
        """Return it where all of it is known; raises ``PersonUnknownError``."""
        if self.unsaid is not None:
            raise self.unsaid
        return self

    def includes(self, other: Scope) -> bool:
        """Whether everything that the other one covers is within."""
        return self.tenants is None or (other.tenants is not None and other.tenants <= self.tenants)

    def added(self, other: Scope) -> Scope:
        """What is within this one or the other."""
        if self.tenants is None or other.tenants is None:
            return Scope(None)
        perhaps = None if self.perhaps is None or other.perhaps is None else self.perhaps | other.perhaps
        return Scope(self.tenants | other.tenants, self.unsaid or other.unsaid, perhaps)

    def narrowed(self, tenants: frozenset[str] | None) -> Scope:
        """What of it is of those tenants; None are all."""
        if tenants is None:
            return self
        return Scope(tenants if self.tenants is None else self.tenants & tenants)

    @property
    def digest(self) -> str:
        """A short text by which this scope is known again; that of every tenant is ``EVERY_TENANT``."""
        if self.tenants is None:
            return EVERY_TENANT
        return hashlib.sha256(repr(sorted(self.tenants)).encode()).hexdigest()[:12]


class Sources(list[str]):
    """Names of data sources that somebody may use; ``unsaid`` says why that is not known of others."""

    def __init__(self) -> None:
        super().__init__()
        self.unsaid: dict[str, PersonUnknownError] = {}

    def has(self, name: str) -> bool:
        """Whether it is among them; raises ``PersonUnknownError`` where Slack did not say what that depends on."""
        if name in self.unsaid:
            raise self.unsaid[name]
        return name in self


class Access:
    """The configured rules, asked for one person at a time."""

    def __init__(
        self,
        rules: Sequence[Rule],
        directory: Directory,
        read_only: Collection[str] = frozenset(),
        is_barred: Callable[[str], bool] = lambda _channel: False,
    ) -> None:
        self._rules = tuple(rules)
        self._directory = directory
        self._read_only = frozenset(read_only)  # data sources on which nobody closes anything, whatever the rules say
        self._is_barred = is_barred  # says of a channel that nobody does anything there: outsiders read it

    def for_one_decision(self) -> Access:
        """Return the same rules, which ask for nothing twice: an answer that does not come is waited for once."""
        return Access(self._rules, _Remembered(self._directory), self._read_only, self._is_barred)

    def scope(self, person: Person, right: Right, source: str, channel: str) -> Scope:
        """Which tenants of ``source`` the person may ``right`` from that channel.

        Raises ``NotAllowedError`` where there is none, ``PersonUnknownError`` where there may be more of them.
        """
        return self.scope_as_known(person, right, source, channel).settled()

    def scope_as_known(
        self, person: Person, right: Right, source: str, channel: str, ahead: frozenset[str] | None = None
    ) -> Scope:
        """Return the same as far as Slack says who the person is, for what can be told of single tenants.

        Raises ``NotAllowedError`` where there is none, ``PersonUnknownError`` where that is not known.
        """
        self._refuse_barred(channel)
        read_only = right is not Right.VIEW and source in self._read_only
        found = _NOTHING if read_only else self._allowed(person, right, source, channel, ahead)
        if found.tenants != frozenset():
            return found
        found.settled()
        # To somebody who may do nothing there it does not exist.
        if read_only and any(self._allows(person, one, source, channel) for one in Right):
            raise NotAllowedError(
                f"Nothing is closed on {source}: its configuration says read_only. "
                "Whoever runs this bot can change that."
            )
        raise NotAllowedError(self._why_not(person, f"{_DOES[right]} on {source}"))

    def _allows(self, person: Person, right: Right, source: str, channel: str) -> bool:
        """Whether the person may do that there at all; raises ``PersonUnknownError``."""
        found = self._allowed(person, right, source, channel)
        return found.tenants != frozenset() or found.settled().tenants != frozenset()

    def _applying(self, right: Right, source: str, channel: str) -> list[Rule]:
        return [
            rule
            for rule in self._rules
            if right in rule.may
            and (rule.channels is None or channel in rule.channels)
            and (rule.data_sources is None or source in rule.data_sources)
        ]

    def _ahead(self, person: Person, rights: Iterable[Right], sources: Iterable[str], channel: str) -> frozenset[str]:
        """Return the user groups that may decide it: of rules that name neither the person nor ``EVERYBODY``."""
        found: frozenset[str] = frozenset()
        for right, source in product(rights, sources):
            rules = self._applying(right, source, channel)
            if not any(person.id in rule.who and rule.tenants is None for rule in rules):
                found |= _user_groups(rule for rule in rules if not rule.who & {person.id, EVERYBODY})
        return found

    def _allowed(
        self, person: Person, right: Right, source: str, channel: str, ahead: frozenset[str] | None = None
    ) -> Scope:
        """Add up the rules, those first that Slack has to say least for: it is asked for nothing that they allow.

        ``ahead`` are the user groups that this and other questions of the same decision may want to know of.
        """
        rules = self._applying(right, source, channel)
        ahead = self._ahead(person, [right], [source], channel) if ahead is None else ahead
        tenants: set[str] = set()
        perhaps: set[str] = set()
        unsaid: PersonUnknownError | None = None
        everywhere = False
        for rule in sorted(rules, key=lambda one: (person.id not in one.who, EVERYBODY not in one.who)):
            if rule.tenants is not None and rule.tenants <= tenants:
                continue
            try:
                named = self._names(rule, person, ahead)
            except PersonUnknownError as error:
                unsaid, everywhere = unsaid or error, everywhere or rule.tenants is None
                perhaps |= rule.tenants or set()
                continue
            if named and rule.tenants is None:
                return Scope(None)
            tenants |= rule.tenants or set() if named else set()
        if unsaid is None or not (everywhere or perhaps - tenants):
            return Scope(frozenset(tenants))
        return Scope(frozenset(tenants), unsaid, None if everywhere else frozenset(perhaps))

    def require(self, person: Person, right: Right, source: str, channel: str, tenant: str | None) -> None:
        """Raise ``NotAllowedError`` unless the person may do that to a session of that tenant.

        Raises ``PersonUnknownError`` where Slack did not say what that depends on.
        """
        if not self.scope_as_known(person, right, source, channel).covers(tenant):
            raise NotAllowedError(
                f"You may not {_DOES[right]} of tenant {tenant} on {source} in this channel: "
                "no access rule allows it. Ask whoever runs this bot; your Slack id is " + person.id + "."
            )

    def sources(self, person: Person, right: Right, names: Sequence[str], channel: str, *others: Right) -> Sources:
        """Of these data sources, those where the person may do that, or one of the ``others``, at all.

        Raises ``NotAllowedError`` where there is none, ``PersonUnknownError`` where that is known of none.
        """
        self._refuse_barred(channel)
        allowed = Sources()
        rights, once = (right, *others), self.for_one_decision()
        ahead = self._ahead(person, rights, names, channel)
        for name in names:
            unsaid: PersonUnknownError | None = None
            for one in rights:
                try:
                    once.scope_as_known(person, one, name, channel, ahead)
                except NotAllowedError:
                    continue
                except PersonUnknownError as error:
                    unsaid = unsaid or error
                    continue
                allowed.append(name)
                break
            else:
                allowed.unsaid |= {name: unsaid} if unsaid is not None else {}
        if allowed:
            return allowed
        if allowed.unsaid:
            raise next(iter(allowed.unsaid.values()))
        read_only = right is not Right.VIEW and self._read_only.issuperset(names)
        if read_only and any(self._allows(person, one, name, channel) for name in names for one in Right):
            raise NotAllowedError(
                "Nothing is closed by this bot: the configuration of each data source says read_only. "
                "Whoever runs this bot can change that."
            )
        raise NotAllowedError(self._why_not(person, _DOES[right]))

    def require_internal(self, person: Person) -> None:
        """Raise ``NotAllowedError`` for somebody external, whatever their id; ``PersonUnknownError``."""
        if not self._directory.is_internal(person):
            raise NotAllowedError(_EXTERNAL)

    def _refuse_barred(self, channel: str) -> None:
        if self._is_barred(channel):
            raise NotAllowedError(_BARRED)

    def _why_not(self, person: Person, what: str) -> str:
        """Say why no rule allows that."""
        with contextlib.suppress(PersonUnknownError):
            if not self._directory.is_internal(person):
                return _EXTERNAL
        return (
            f"You may not {what} in this channel: no access rule allows it. "
            f"Ask whoever runs this bot to add you to a rule; your Slack id is {person.id}."
        )

    def kept_view(
        self,
        asker: Person,
        scope_digest: str,
        presser: Person,
        source: str,
        channel: str,
        tenants: frozenset[str] | None,
    ) -> Scope:
        """Return the tenants of whose sessions a press may show anything in the place of a public message.

        A message keeps its asker's view, whoever presses: by the rules of when it was asked for, of which
        ``scope_digest`` tells what the asker could see then, and of now, the stricter wins. ``tenants`` are those that
        it is about, None where its query names none. Where the presser sees fewer than the asker, the answer is no
        wider than that: neither rows nor the totals around them tell of others.

        Raises ``NotAllowedError``, which names no tenant, no data source and no session, or ``PersonUnknownError``.
        """
        self._refuse_barred(channel)
        view = self._view(asker, source, channel, "who the person is who asked for this")
        if view is None or view.narrowed(tenants).tenants == frozenset():
            raise NotAllowedError(f"Whoever asked for this may not see it, {_STANDS}")
        if scope_digest not in (EVERY_TENANT, view.digest):
            raise NotAllowedError(f"The access rules have changed since this was asked for, {_STANDS}")
        own = self._view(presser, source, channel, "who you are")
        if own is None or not own.includes(view.narrowed(tenants)):
            raise NotAllowedError(f"You may not see all that this is about, {_STANDS}")
        return view if own.includes(view) else view.narrowed(tenants)

    def _view(self, person: Person, source: str, channel: str, who: str) -> Scope | None:
        """Return what somebody may see, None for nothing; raises ``PersonUnknownError`` about ``who`` that is."""
        try:
            return self.scope(person, Right.VIEW, source, channel)
        except NotAllowedError:
            return None
        except PersonUnknownError as error:
            raise error.of(who) from error

    def any_scope(self, person: Person, rights: Iterable[Right], source: str, channel: str) -> Scope:
        """Return the tenants with which the person may do one of these, as far as Slack says who that is.

        Raises ``NotAllowedError`` where people of other organisations read the channel, and for nothing else.
        """
        self._refuse_barred(channel)
        found = _NOTHING
        for right in rights:
            if right is Right.VIEW or source not in self._read_only:
                found = found.added(self._allowed(person, right, source, channel))
        return found

    def rights(self, person: Person, source: str, channel: str) -> dict[Right, Scope]:
        """Everything that the person is known to be allowed to do with one data source in that channel.

        Raises ``PersonUnknownError`` where nothing is known and there may be something.
        """
        found = {}
        unsaid: PersonUnknownError | None = None
        ahead = self._ahead(person, Right, [source], channel)
        for right in Right:
            try:
                found[right] = Scope(self.scope_as_known(person, right, source, channel, ahead).tenants)
            except NotAllowedError:
                continue
            except PersonUnknownError as error:
                unsaid = error
        if unsaid is not None and not found:
            raise unsaid
        return found

    def who(self, right: Right, source: str, tenant: str | None, channel: str) -> frozenset[str]:
        """Return the ids of all whom the rules name for that tenant there: people, user groups, ``EVERYBODY``.

        In a direct message ``EVERYBODY`` is whoever writes there, and nobody else.
        """
        ids: set[str] = set()
        for rule in self._rules:
            if (rule.channels is None or channel in rule.channels) and rule.covers(right, source, tenant):
                ids |= rule.who
        return frozenset(ids - {EVERYBODY} if channel.startswith("D") else ids)

    def named(self, right: Right, source: str, tenants: Collection[str | None], channel: str) -> tuple[str, ...]:
        """Return the ids of people and user groups whom the rules name for each of those tenants there.

        ``EVERYBODY`` is nobody in particular and not among them.
        """
        each = [self.who(right, source, tenant, channel) for tenant in tenants]
        return tuple(sorted(frozenset.intersection(*each) - {EVERYBODY}))

    def people(
        self, right: Right, source: str, tenants: Collection[str | None], channel: str, *, besides: Person
    ) -> tuple[str, ...]:
        """Return the same with the members of each user group in its place: the ids of other people than that one.

        Raises ``PersonUnknownError`` where that is nobody, and Slack did not say who is in one of the groups.
        """
        ids: dict[str, None] = {}
        unsaid: PersonUnknownError | None = None
        named = self.named(right, source, tenants, channel)
        groups = [one for one in named if one.startswith("S")]
        for one in named:
            try:
                members = sorted(self._directory.members(one, groups)) if one in groups else (one,)
            except PersonUnknownError as error:
                unsaid = error
                continue
            ids.update(dict.fromkeys(members))
        others = tuple(one for one in ids if one != besides.id)
        if unsaid is not None and not others:
            raise unsaid
        return others

    def channels_to_ask_in(self, person: Person, source: str, tenant: str | None) -> tuple[str, ...]:
        """Return the channels that rules name in which this person may close and somebody else may approve it."""
        named = {channel for rule in self._rules for channel in rule.channels or ()}
        return tuple(
            channel
            for channel in sorted(named)
            if self.who(Right.APPROVE, source, tenant, channel) - {person.id}
            and self._is_known_to_close(person, source, tenant, channel)
        )

    def _is_known_to_close(self, person: Person, source: str, tenant: str | None, channel: str) -> bool:
        try:
            return self.scope_as_known(person, Right.CLOSE, source, channel).covers(tenant)
        except (NotAllowedError, PersonUnknownError):
            return False

    def rules_of(self, person: Person) -> list[Rule]:
        """Every rule that names the person, in whatever channel.

        Raises ``NotAllowedError`` for somebody whom no rule can name, ``PersonUnknownError``.
        """
        self.require_internal(person)
        ahead = _user_groups(rule for rule in self._rules if person.id not in rule.who)
        return [rule for rule in self._rules if self._names(rule, person, ahead)]

    def _names(self, rule: Rule, person: Person, ahead: frozenset[str]) -> bool:
        """Whether a rule names the person; raises ``PersonUnknownError`` where Slack did not say what that takes."""
        if person.id in rule.who:
            return self._directory.is_internal(person)  # an id counts with its team only
        unsaid: PersonUnknownError | None = None
        for who in sorted(one for one in rule.who if one == EVERYBODY or one.startswith("S")):
            try:
                if self._is_one_of(person, who, ahead | _user_groups([rule])):
                    return True
            except PersonUnknownError as error:
                unsaid = unsaid or error
        if unsaid is not None:
            raise unsaid.of("who you are")
        return False

    def _is_one_of(self, person: Person, who: str, ahead: frozenset[str]) -> bool:
        if who == EVERYBODY:
            return self._directory.is_full_member(person)
        return self._directory.is_in_group(person, who, ahead)


class _Remembered:
    """A directory that is asked for nothing twice, also not for what it did not say."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._said: dict[tuple[str, object], Any] = {}

    def is_internal(self, person: Person) -> bool:
        return bool(self._once("internal", person, lambda: self._directory.is_internal(person)))

    def is_full_member(self, person: Person) -> bool:
        return bool(self._once("full", person, lambda: self._directory.is_full_member(person)))

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        return bool(self._once("in", (person, group), lambda: self._directory.is_in_group(person, group, ahead)))

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        return frozenset(self._once("members", group, lambda: self._directory.members(group, ahead)))

    def _once(self, what: str, about: object, ask: Callable[[], object]) -> Any:
        if (what, about) not in self._said:
            try:
                self._said[what, about] = ask()
            except PersonUnknownError as error:
                self._said[what, about] = error
        said = self._said[what, about]
        if isinstance(said, PersonUnknownError):
            raise said
        return said


def _user_groups(rules: Iterable[Rule]) -> frozenset[str]:
    return frozenset(who for rule in rules for who in rule.who if who.startswith("S"))


_NOTHING = Scope(frozenset())

_EXTERNAL = (
    "This bot works only for members of the Slack workspace, or organisation, that it is installed in. "
    "Ask one of them to do this."
)

_BARRED = (
    "People of other organisations read this channel, and this bot does nothing in such channels. Use another channel; "
    "whoever runs this bot can allow it in these (allow_shared_channels)."
)

# Who may not see a message's tenant is not told its command either.
_STANDS = "so the message stays as it is. Run the command yourself to see what you may."

_DOES = {
    Right.VIEW: "see sessions",
    Right.CLOSE: "close sessions",
    Right.APPROVE: "approve closing sessions",
}
