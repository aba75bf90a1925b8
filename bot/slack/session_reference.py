"""What buttons and menus carry: a reference to a session, never its place in a list; and who asked for them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from bot.access import Access, Person, Right, Scope
from bot.closing.disclosures import Disclosures
from bot.errors import InputError, NotAllowedError
from bot.sessions.model import Session
from bot.sessions.service import SessionService
from bot.sessions.statement import Disclosure
from bot.slack.arguments.session_query import named_source
from bot.slack.events import Asked, Press, of_diagnosis, of_source

PICK = "sessions.pick"  # the menu under a list

_SEPARATOR = "|"  # stands in no name of a data source and in no address


@dataclass(frozen=True, slots=True)
class SessionReference:
    """One session as it was listed; ``check`` tells when its id has gone to another one since."""

    source: str
    server: str | None
    id: int
    check: str

    @classmethod
    def of(cls, session: Session) -> SessionReference:
        """Refer to a listed session."""
        return cls(session.source, session.server, session.id, _check(session))

    @classmethod
    def read(cls, text: str) -> SessionReference:
        """Read ``str(reference)`` back; raises ``InputError`` for anything else."""
        parts = text.split(_SEPARATOR)
        if len(parts) != 4 or not re.fullmatch(r"\d{1,10}", parts[2], re.ASCII) or not 1 < int(parts[2]) < 2**32:
            raise InputError("That choice cannot be read. Press Refresh and choose again.")
        return cls(parts[0], parts[1] or None, int(parts[2]), parts[3])

    def __str__(self) -> str:
        return _SEPARATOR.join((self.source, self.server or "", str(self.id), self.check))

    def matches(self, session: Session) -> bool:
        """Whether this is still the session that was listed."""
        if self.id != session.id or (self.server != session.server and self.server not in session.servers):
            return False
        whole, port, routine = _check(session).split(".")
        listed, listed_port, in_routine = (*self.check.split("."), "", "")[:3]
        # While a routine runs, MariaDB shows its definer instead of who logged in: the port names the connection.
        return whole == listed or bool(port == listed_port and (routine or in_routine) and session.client.port)


@dataclass(frozen=True, slots=True)
class CardReference:
    """The session of a card, and its tenant: by that a press is judged also when the session is gone."""

    session: SessionReference
    tenant: str | None

    @classmethod
    def of(cls, session: Session) -> CardReference:
        """Refer to the session of a card."""
        return cls(SessionReference.of(session), session.tenant)

    @classmethod
    def read(cls, text: str) -> CardReference:
        """Read ``str(reference)`` back; raises ``InputError`` for anything else."""
        parts = text.rsplit(_SEPARATOR, 4)
        session = SessionReference.read(_SEPARATOR.join(parts[-4:]))
        return cls(session, (parts[0] or None) if len(parts) > 4 else None)  # older cards did not name it

    def __str__(self) -> str:
        return _SEPARATOR.join((self.tenant or "", str(self.session)))


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked for a public message, and the digest of what they could see then.

    It stands in the id of the block of buttons: the longest queries fill the value of a button.
    """

    person: Person
    scope_digest: str
    disclosure: Disclosure = Disclosure.DIGEST  # of statements, by which they were searched

    @classmethod
    def of(cls, person: Person, scope: Scope, disclosure: Disclosure = Disclosure.DIGEST) -> Asker:
        """Remember who asks, and what they may see."""
        return cls(person, scope.digest, disclosure)

    @classmethod
    def read(cls, block_id: str) -> Asker | None:
        """Read what ``block`` has written; None where nobody's name stands there, as in older messages."""
        found = _ASKER.fullmatch(block_id)
        if found is None:
            return None
        disclosure = Disclosure.ALL_BUT_PASSWORDS if found["literals"] else Disclosure.DIGEST
        return cls(Person(found["person"], found["team"]), found["digest"], disclosure)

    @staticmethod
    def block(name: str, asker: Asker | None) -> str:
        """Return the id of a block of buttons with the asker in it, of a private message without."""
        if asker is None:
            return name
        seen = (_LITERALS,) if asker.disclosure.literals else ()
        return _SEPARATOR.join((name, asker.person.id, asker.person.team, asker.scope_digest, *seen))


_LITERALS = "literals"
_ASKER = re.compile(
    r"[^|]*\|(?P<person>[A-Z0-9]+)\|(?P<team>[A-Z0-9]*)\|(?P<digest>all|[0-9a-f]{12})"
    rf"(?:\|(?P<literals>{_LITERALS}))?",
    re.ASCII,
)


def own_view(press: Press, access: Access, sessions: SessionService, source: str) -> Scope:
    """Return which sessions of the data source of a message its presser may see.

    Raises ``NotAllowedError``, which does not name the data source, or ``PersonUnknownError``.
    """
    if not access.sources(press.person, Right.VIEW, sessions.names, press.channel).has(source):
        raise NotAllowedError(
            "This is about a data source that you may not use here. /sessions lists what you may see."
        )
    return access.scope(press.person, Right.VIEW, source, press.channel)


def kept_view(
    press: Press, access: Access, sessions: SessionService, source: str, tenants: frozenset[str] | None
) -> Scope:
    """Return which sessions a press may show in the place of its message, which is about those tenants.

    Of a private one those that its presser may see. Raises ``NotAllowedError``.
    """
    own = own_view(press, access, sessions, source)
    if press.ephemeral:
        return own
    asker = Asker.read(press.block_id)
    if asker is None:
        raise NotAllowedError(
            "This message is of an earlier version of the bot and does not tell who asked for it, so it stays as it "
            "is. Type the command again."
        )
    about = sessions.source(source).configured(tenants)
    return access.kept_view(asker.person, asker.scope_digest, press.person, source, press.channel, about)


def kept_disclosure(press: Press, disclosures: Disclosures, source: str, view: Scope) -> Disclosure:
    """Return by what of statements a press may search in the place of its message, which covers ``view``.

    Of a private one it is its presser's; of a public one its asker's by the rules of then and of now, the stricter.
    """
    asker = None if press.ephemeral else Asker.read(press.block_id)
    if asker is not None and not asker.disclosure.literals:
        return Disclosure.DIGEST
    return disclosures.covering(press.person if asker is None else asker.person, source, press.channel, view)


def queried(press: Press) -> Asked | None:
    """Say which data source the query is about that a button carries; raises ``InputError``."""
    source = named_source(press.value)
    return of_source(source) if source is not None else None


def diagnosed(press: Press) -> Asked | None:
    """Say the same of a button that leads to what explains sessions; raises ``InputError``."""
    source = named_source(press.value)
    return of_diagnosis(source) if source is not None else None


def picked(press: Press) -> SessionReference:
    """Return the one session picked in the menu; raises ``InputError`` when there is none, or more."""
    chosen = all_picked(press)
    if len(chosen) > 1:
        raise InputError(f"{len(chosen)} sessions are picked, and this shows one. Pick one, then press the button.")
    return chosen[0]


def all_picked(press: Press) -> list[SessionReference]:
    """Return the sessions picked in the menu, else the button's own, all of one data source.

    Raises ``InputError`` when there is none.
    """
    values = press.chosen.get(PICK) or ((press.value,) if _SEPARATOR in press.value else ())
    chosen = [SessionReference.read(value) for value in values]
    if not chosen:
        raise InputError("Pick a session in the menu first, then press the button.")
    if len({one.source for one in chosen}) > 1:
        raise InputError("That choice cannot be read. Press Refresh and choose again.")
    return chosen


def _check(session: Session) -> str:
    """Sum up who it is: whole, by its client's port alone, and whether a routine hides who that is."""
    # Each server that a proxy's client has touched sees another connection of the proxy.
    peer = session.client.origin if session.client_session else session.client.peer
    parts = (
        (session.tenant, session.client.user, peer, session.client.proxy_session_id),
        (session.tenant, session.client.port),
    )
    whole, port = (hashlib.sha256(repr(part).encode()).hexdigest()[:12] for part in parts)
    return f"{whole}.{port}.{'r' if session.client.definer else ''}"
