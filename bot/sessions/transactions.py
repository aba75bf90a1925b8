"""Open transactions, oldest first: read of all tenants at once, then narrowed to who asks and what is asked for."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bot.sessions.address import host_of
from bot.sessions.conditions import EXACT_FIELDS
from bot.sessions.database import Connection
from bot.sessions.frozen import quickly_made
from bot.sessions.model import Condition, Field, Flag, LastStatement, Operator, Session, SessionFilter, Transaction
from bot.sessions.waits.graph import Prepared
from bot.sessions.waits.reading import Ends, Party, SessionsOf

_LAST = 50  # idle ones, the oldest, of which it is read what they ran last: as many as a page shows
MOST = 1_000  # transactions that are read at once, the oldest; more are said to be there

# What of a list's filter applies to transactions; statements are not searched here.
FIELDS = frozenset(
    {
        Field.TENANT,
        Field.USER,
        Field.HOST,
        Field.DATABASE,
        Field.ID,
        Field.COMMAND,
        Field.STATUS,
        Field.TIME,
        Field.SERVER,
        Field.PROXY,
    }
)


@quickly_made
@dataclass(frozen=True, slots=True)
class Begun:
    """An open transaction as a server's view tells it, with its age, and the session that has it."""

    transaction: Transaction
    session: Party  # without ``session_id`` no session has it
    xid: str | None = None  # as XA RECOVER lists it
    prepared: bool = False  # by XA


@dataclass(frozen=True, slots=True)
class Told:
    """What a dialect read of transactions, oldest first."""

    begun: tuple[Begun, ...]
    lacks: tuple[str, ...] = ()  # sentences on what the login may not read of them, each with its grant


# Reads open transactions, no more than so many; raises one of the ``DataSourceError`` family.
TransactionsReader = Callable[[Connection, int], Told]
# Reads what sessions of these ids ran last, where the server keeps it.
LastStatements = Callable[[Connection, Sequence[int]], Mapping[int, LastStatement]]


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """One open transaction. ``who`` has it; None: no listed session, the server ends it or a client id was closed."""

    who: Session | Prepared | None
    transaction: Transaction
    tenant: str | None = None
    server_session: int | None = None  # of one that no list has: the server's own id of it

    @property
    def session(self) -> Session | None:
        """The session that has it."""
        return self.who if isinstance(self.who, Session) else None

    @property
    def idle(self) -> float | None:
        """Seconds for which its session has been idle; None where it runs something or there is none."""
        return self.session.time if self.session is not None and self.session.idle else None


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which transactions are meant: a list's filter, of which ``FIELDS`` apply, and bounds of their age in seconds."""

    sessions: SessionFilter = field(default_factory=SessionFilter)
    age: tuple[tuple[Operator, float], ...] = ()

    def fits(self, one: OpenTransaction) -> bool:
        """Whether a transaction is meant. Of an unknown age none is older or younger than anything."""
        age = one.transaction.age
        if any(age is None or not _COMPARED[compared](age, bound) for compared, bound in self.age):
            return False
        if one.session is None:
            only_tenants = all(condition.field is Field.TENANT for condition in self.sessions.conditions)
            flags = self.sessions.flags - {Flag.IN_TRANSACTION}
            return only_tenants and not flags and self._tenant_fits(one.tenant)
        session = one.session
        flagged = {Flag.IDLE: session.idle, Flag.ACTIVE_ONLY: session.active}
        return all(flagged.get(flag, True) for flag in self.sessions.flags) and all(
            _fits(session, condition) for condition in self.sessions.conditions
        )

    def _tenant_fits(self, tenant: str | None) -> bool:
        return all(_among((tenant or "",), condition) for condition in self.sessions.conditions)


@dataclass(frozen=True, slots=True)
class Transactions:
    """The open transactions of a data source at one moment, oldest first; those of unknown age come last."""

    source: str
    as_of: datetime  # UTC
    open: tuple[OpenTransaction, ...]
    more: bool = False  # whether there are younger ones that were not read
    caveats: tuple[str, ...] = ()  # sentences on what cannot be seen or is not known here

    @property
    def oldest(self) -> float | None:
        """Seconds of the age of the oldest; None where there is none, or no age is known."""
        return next((one.transaction.age for one in self.open), None)

    def narrowed(self, tenants: Collection[str] | None, wanted: TransactionFilter | None = None) -> Transactions:
        """The same of those tenants alone, None for all, and of those that are wanted."""
        seen = (one for one in self.open if tenants is None or one.tenant in tenants)
        return replace(self, open=tuple(one for one in seen if wanted is None or wanted.fits(one)))


def read(
    connection: Connection,
    source: str,
    begun_of: TransactionsReader,
    sessions_of: SessionsOf,
    *,
    unlisted: bool,
    last_of: LastStatements | None = None,
) -> Transactions:
    """Read the transactions, then the sessions that have them; the bot's own are left out.

    ``unlisted`` says that one may be alive whose session no list has: its client was closed by a number that a proxy
    made (docs/oceanbase.md 4.1). Elsewhere such a one has ended between the two reads. Raises one of the
    ``DataSourceError`` family.
    """
    told = begun_of(connection, MOST + 1)
    begun = told.begun
    parties = [one.session for one in begun if one.session.session_id is not None]
    listed = Ends(sessions_of(parties) if parties else [])
    found: list[OpenTransaction] = []
    lost: list[Begun] = []
    for one in begun[:MOST]:
        session = listed.session_of(one.session) if one.session.session_id is not None else None
        if session is None and not one.prepared and one.session.session_id is not None:
            lost.append(one)
        elif session is None or not session.own:
            found.append(_open(one, session))
    if lost and unlisted:
        still = {(one.transaction.id, one.session) for one in begun_of(connection, MOST + 1).begun}
        found += [_open(one, None) for one in lost if (one.transaction.id, one.session) in still]
    found.sort(key=_oldest_first)
    if last_of is not None:
        found = _with_last(connection, found, last_of)
    return Transactions(source, datetime.now(UTC), tuple(found), len(begun) > MOST, told.lacks)


def _with_last(
    connection: Connection, found: Sequence[OpenTransaction], last_of: LastStatements
) -> list[OpenTransaction]:
    """Add what ran last in the oldest that are idle. An id that two servers use tells nothing."""
    idle = [one.session for one in found if one.session is not None and one.session.idle][:_LAST]
    times = Counter(one.id for one in idle)
    last = last_of(connection, [number for number, count in times.items() if count == 1])
    return [
        replace(one, who=replace(one.session, last_statement=last[one.session.id]))
        if one.session is not None and one.session.idle and one.session.id in last
        else one
        for one in found
    ]


def of_list(source: str, sessions: Iterable[Session], caveats: Sequence[str]) -> Transactions:
    """Take them from a list of sessions, where nothing else tells of them: then no age is known."""
    found = [OpenTransaction(one, one.transaction, one.tenant) for one in sessions if one.transaction is not None]
    found.sort(key=lambda one: -(one.idle or 0.0))
    return Transactions(source, datetime.now(UTC), tuple(found[:MOST]), len(found) > MOST, tuple(caveats))


def _open(one: Begun, session: Session | None) -> OpenTransaction:
    party = one.session
    if session is not None:
        listed = session.transaction
        transaction = listed.completed(one.transaction) if listed is not None else one.transaction
        return OpenTransaction(replace(session, transaction=transaction), transaction, session.tenant)
    if one.prepared:
        return OpenTransaction(Prepared(one.transaction, party.tenant, one.xid), one.transaction, party.tenant)
    return OpenTransaction(None, one.transaction, party.tenant, party.session_id)


def _oldest_first(one: OpenTransaction) -> tuple[bool, float, int]:
    """Those that a server's coarse clock gives the same age are in the order of their numbers, which grow."""
    age = one.transaction.age
    return age is None, -(age or 0.0), one.transaction.id or 0


_COMPARED: Mapping[Operator, Callable[[float, float], bool]] = {
    Operator.ABOVE: operator.gt,
    Operator.AT_LEAST: operator.ge,
    Operator.BELOW: operator.lt,
    Operator.AT_MOST: operator.le,
}


def _fits(session: Session, condition: Condition) -> bool:
    """Whether a session fits a condition as ``Conditions`` has it in SQL."""
    if condition.operator in _COMPARED:
        value = float(session.id) if condition.field is Field.ID else session.time
        return any(_COMPARED[condition.operator](value, float(bound)) for bound in condition.values)
    if condition.field is Field.ID:
        return (session.id in condition.values) is not (condition.operator is Operator.NOT)
    return _among(_texts(session, condition.field), condition)


def _texts(session: Session, searched: Field) -> tuple[str, ...]:
    client = session.client
    if searched is Field.HOST:
        return client.origin, host_of(client.origin)
    if searched is Field.PROXY:
        return client.proxy or "", str(client.proxy_session_id or "")
    if searched is Field.SERVER:
        return session.servers or (session.server or "",)
    return (
        {
            Field.TENANT: session.tenant,
            Field.USER: client.user,
            Field.DATABASE: session.database,
            Field.COMMAND: session.command,
            Field.STATUS: session.state,
        }[searched]
        or "",
    )


def _among(texts: Sequence[str], condition: Condition) -> bool:
    """Whether one of the texts is, or holds, one of the values; tenants, and users with ==, are told by their case."""
    exactly = condition.operator is Operator.EXACTLY or condition.field in EXACT_FIELDS
    with_case = condition.field is Field.TENANT or (exactly and condition.field in (Field.USER, Field.DATABASE))
    found = False
    for value in map(str, condition.values):
        wanted = "" if exactly and value == "-" else value
        for text in texts:
            one, other = (wanted, text) if with_case else (wanted.lower(), text.lower())
            found = found or (one == other if exactly else one in other)
    return found is not (condition.operator is Operator.NOT)
