"""Closing one session or its request: look, compare, KILL, back to back on one connection, and nobody else's.

docs/oceanbase.md 2.3, 3.3 and 4.1: no server takes a condition with a KILL, and what it takes is an id alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from bot.errors import (
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    NotSessionOwnerError,
    PrivilegeMissingError,
    SessionOutOfReachError,
    TargetError,
    UnknownSessionError,
)
from bot.sessions.console import Console, Look
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.uptime import since_boot

FRESH = 0.05  # seconds that a look may be old when the KILL is sent that it justifies
LOOKS = 10  # looks that may be too old before it is given up: a busy machine makes several of them so
# Once looks have taken so many seconds, so few of them are enough: a slow server gets no faster, and others of the
# request wait for their turn.
LONG, FEW = 2.0, 3
_TWO_OF_THAT_ID = 4016  # what OceanBase answers where it finds two sessions of one id

# Why a session is never closed; raises where it is so.
Forbid = Callable[[Session], None]
Expired = Callable[[], bool]


class Answer(enum.Enum):
    """What the server answered to a KILL; an OK means no more than sent."""

    OK = "OK"
    UNKNOWN = "unknown session"
    OUT_OF_REACH = "out of reach"  # same, yet it is still listed, and its own server cannot be asked
    REFUSED = "refused"  # not this login's to close
    ERROR = "error"
    NOT_ASKED = "not asked"  # nothing was sent: somebody else had closed it already
    NONE = "no answer"  # it may or may not have arrived


class Why(enum.Enum):
    """Why no KILL was sent."""

    GONE = "gone"
    TAKEN = "taken"  # the id is another session's by now
    LOGGED_IN = "logged in"  # the same connection; nobody had logged in on it when it was confirmed
    UNSEEN = "unseen"  # its server was not seen serving
    ELSEWHERE = "elsewhere"  # the data source's address leads to another server than its own
    ANOTHER_REQUEST = "another request"
    ANOTHER_TRANSACTION = "another transaction"
    ENDING = "ending"  # somebody has closed it already
    OUT_OF_REACH = "out of reach"  # a KILL could reach somebody else
    PROTECTED = "protected"
    LATE = "late"  # no look was fresh enough, or the time for it is over


@dataclass(frozen=True, slots=True)
class Order:
    """What was confirmed to be closed, and what may still keep it from that.

    ``forbid`` raises for a session that is never closed; once the time for sending has ``expired``, nothing is sent.
    """

    pin: Pin
    mode: Mode
    forbid: Forbid
    expired: Expired


@dataclass(frozen=True, slots=True)
class Sent:
    """A KILL that was sent: the session as it was looked at right before, and what the server said."""

    session: Session
    answer: Answer
    said: str = ""  # the server's own words, '' where it said OK


@dataclass(frozen=True, slots=True)
class NotSent:
    """That no KILL was sent; ``now`` is the session where it is still there."""

    why: Why
    said: str = ""
    now: Session | None = None


def refusal(console: Console, look: Look, pin: Pin, mode: Mode) -> NotSent | None:
    """Say why a session as it was looked at is not what was confirmed, or cannot be closed; None where it can be."""
    now = look.session
    if now is None:
        return _not_there(look, pin)
    moved_on = _moved_on(pin, now, mode)
    if moved_on is not None:
        return NotSent(moved_on, now=now)
    refused = console.refuses_client(look.rows) if now.client_session else ""
    return NotSent(Why.OUT_OF_REACH, refused, now) if refused else None


def _not_there(look: Look, pin: Pin) -> NotSent:
    if look.unseen:
        return NotSent(Why.ELSEWHERE if look.elsewhere else Why.UNSEEN, look.unseen)
    if pin.session.logging_in and any(map(pin.logged_in_since, look.rows)):
        return NotSent(Why.LOGGED_IN)
    # Whoever has its id now is nobody's business who may not see his tenant.
    taken = any(one.server == pin.session.server and one.tenant == pin.session.tenant for one in look.rows)
    return NotSent(Why.TAKEN if taken else Why.GONE)


def _moved_on(pin: Pin, now: Session, mode: Mode) -> Why | None:
    if mode is Mode.QUERY and not pin.same_request(now):
        return Why.ANOTHER_REQUEST
    if now.ending or (mode is Mode.QUERY and now.query_ending):
        return Why.ENDING
    if mode is Mode.SESSION and not pin.same_transaction(now):
        return Why.ANOTHER_TRANSACTION
    return None


class Looks:
    """Looks at what several orders name, one statement for all that have not had their turn.

    A look justifies a ``KILL`` for ``FRESH`` seconds: who has not had a turn by then is looked at again.
    """

    def __init__(self, console: Console, orders: Mapping[int, Order]) -> None:
        self._console = console
        self._orders = orders
        self._taken: dict[int, Look] = {}

    def fresh(self, number: int) -> bool:
        """Whether there is a look at this one that justifies a ``KILL`` now."""
        return number in self._taken and since_boot() - self._taken[number].answered <= FRESH

    def at(self, number: int) -> Look:
        """Look at the one whose turn it is, by its number; another look at the same one is a new one.

        They have their turns in the order in which they were given. Raises a ``DataSourceError``.
        """
        if not self.fresh(number):
            numbers = list(self._orders)
            left = numbers[numbers.index(number) :]
            fresh = self._orders[number].mode is Mode.SESSION
            looks = self._console.looks([self._orders[one].pin for one in left], fresh=fresh)
            self._taken = dict(zip(left, looks, strict=True))
        return self._taken.pop(number)


def close(
    console: Console, order: Order, at: Callable[[], Look] | None = None, *, by_procedure: bool = False
) -> Sent | NotSent:
    """Close what was pinned, if that is what is there, on its own server where its id alone does not name it.

    ``at`` looks at it, where several are looked at together; ``by_procedure`` is for one whose ``KILL`` was denied, and
    that is on the connection's own server. What ``forbid`` raises, and a ``DataSourceError``, leave
    this function only while nothing was sent.
    """
    at = at or partial(Looks(console, {0: order}).at, 0)
    began, tries = since_boot(), 0
    while tries < FEW or (tries < LOOKS and since_boot() - began <= LONG):
        tries += 1
        look = at()
        if look.unseen and console.dialect.one_of_several:
            return _on_its_own_server(console, order, order.pin.session)
        refused = refusal(console, look, order.pin, order.mode)
        if refused is not None:
            return refused
        assert look.session is not None  # noqa: S101  # else it was refused
        order.forbid(look.session)
        if not _reaches_only_it(console, look):
            return _on_its_own_server(console, order, look.session)
        if order.expired():
            return NotSent(Why.LATE, "Time ran out.", look.session)
        if since_boot() - look.answered <= FRESH and console.recent(look):
            return _call(console, order, look.session) if by_procedure else _send(console, order, look)
    said = f"The bot or the server was too slow: in {tries} tries the last look was never recent enough to KILL safely."
    return NotSent(Why.LATE, said, look.session)


def _reaches_only_it(console: Console, look: Look) -> bool:
    """Whether a KILL of the id on this connection can reach nobody else.

    A server closes its own session of an id before it asks others. So one whose id is there twice, or may be there
    unseen, is closed where the connection's own server is known to be the session's.
    """
    session = look.session
    if session is None or console.dialect.single or session.client_session:
        return session is not None
    own = console.own_server
    if own == session.server:
        return True
    blind = console.dialect.closes_unseen or console.dialect.one_of_several
    # Through a proxy the KILL may go to a server that the list leaves out, and that has the id as well.
    silent = own is None and bool(console.absent_servers())
    return len(look.rows) == 1 and not blind and not silent


def _on_its_own_server(console: Console, order: Order, session: Session) -> Sent | NotSent:
    try:
        with console.on(session.server) as direct:
            return close(direct, order)
    except SessionOutOfReachError as error:
        said = f"Other servers may have a session with this id; only its own server can close just this one. {error}"
        return NotSent(Why.OUT_OF_REACH, said, session)


def _send(console: Console, order: Order, look: Look) -> Sent | NotSent:
    """Send the KILL once. What fails in a way that may have worked all the same is left to the looks afterwards."""
    session = look.session
    assert session is not None  # noqa: S101  # else it was refused
    same_statement = session.trace_id == order.pin.session.trace_id
    by_number = order.mode is Mode.QUERY and console.dialect.kills_by_query_id and same_statement
    try:
        console.kill(session, order.mode, order.pin.session)
        sent = Sent(session, Answer.OK)
    except DataSourceError as error:
        sent = Sent(session, _answer(error), str(error))
        if sent.answer is Answer.UNKNOWN and not by_number:
            return _where_it_is_known(console, order, sent)
        if sent.answer is Answer.REFUSED and console.dialect.kill_procedures:
            return _by_procedure(console, order, look, sent)
    if by_number and sent.answer in (Answer.OK, Answer.UNKNOWN):
        return _the_whole_call(console, order, sent)
    return sent


def _by_procedure(console: Console, order: Order, look: Look, sent: Sent) -> Sent:
    """Close by a procedure what a KILL was denied for: that has had no effect. As right after a look as any KILL."""
    last = iter([look])
    try:
        fresh = order.mode is Mode.SESSION
        again = close(
            console, order, lambda: next(last, None) or console.look(order.pin, fresh=fresh), by_procedure=True
        )
    except (DataSourceError, TargetError) as error:
        return replace(sent, said=f"{sent.said} {error}")
    return again if isinstance(again, Sent) else replace(sent, said=f"{sent.said} {again.said}".strip())


def _call(console: Console, order: Order, session: Session) -> Sent:
    try:
        console.kill_by_procedure(session, order.mode)
    except DataSourceError as error:
        return Sent(session, _answer(error), str(error))
    return Sent(session, Answer.OK)


def _answer(error: DataSourceError) -> Answer:
    if isinstance(error, NotSessionOwnerError | PrivilegeMissingError):
        return Answer.REFUSED
    if isinstance(error, UnknownSessionError) or error.errno == _TWO_OF_THAT_ID:
        return Answer.UNKNOWN
    return Answer.NONE if isinstance(error, ConnectionLostError | DataSourceTimeoutError) else Answer.ERROR


def _the_whole_call(console: Console, order: Order, sent: Sent) -> Sent | NotSent:
    """Close the call of a routine where ``KILL QUERY ID`` hit one of its statements that had just ended.

    MariaDB answers OK to that, or 1957, and the call goes on with its next statement under another number.
    """
    try:
        now = console.look(order.pin).session
        if now is None or not order.pin.same_request(now) or now.trace_id == sent.session.trace_id:
            return sent
        again = close(console, order)
    except (DataSourceError, TargetError):
        return sent
    return again if isinstance(again, Sent) else sent


def _where_it_is_known(console: Console, order: Order, sent: Sent) -> Sent | NotSent:
    """Close on its own server what a proxy, or another server, does not know though it is still listed.

    docs/oceanbase.md 2.5: a proxy may keep a KILL to itself, and knows only the sessions that went through it.
    """
    try:
        look = console.look(order.pin)
        if look.session is None or (order.mode is Mode.QUERY and not order.pin.same_request(look.session)):
            return sent
        if not console.way_past(look.session.server):
            return replace(sent, said=f"{sent.said} It was still listed then.")
        with console.on(look.session.server) as direct:
            again = close(direct, order)
        console.keeps_kills = isinstance(again, Sent) and again.answer is Answer.OK
        return again if isinstance(again, Sent) else replace(sent, said=f"{sent.said} {again.said}".strip())
    except SessionOutOfReachError as error:
        said = f"{sent.said} It is still listed, and its own server could not be asked. {error}"
        return Sent(sent.session, Answer.OUT_OF_REACH, said)
    except (DataSourceError, TargetError) as error:
        return Sent(sent.session, sent.answer, f"{sent.said} {error}")
