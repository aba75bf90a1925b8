"""/sessions locks: who holds up whom, whatever the lock, and what to close, or to wait for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from bot.access import Access, Right, Scope
from bot.closing.advice import Adviser
from bot.closing.disclosures import Disclosures
from bot.errors import BusyError, DataSourceError, NotAllowedError
from bot.sessions.model import Session
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource
from bot.sessions.source_health import Tenants
from bot.sessions.waits.advice import Advice
from bot.sessions.waits.blockages import blockages, with_advice
from bot.sessions.waits.graph import Prepared, WaitGraph
from bot.slack.arguments import keys_and_flags
from bot.slack.arguments.tokens import quoted
from bot.slack.arguments.vocabulary import Vocabulary
from bot.slack.defaults import Defaults
from bot.slack.delivery.message import Message
from bot.slack.events import Command, Press, Registrar
from bot.slack.session_reference import Asker, diagnosed, kept_view, own_view
from bot.slack.views import locks as view
from bot.slack.views import session_list
from bot.slack.views.help import Topic

NAME = "locks"  # the verb after /sessions
# Typed alone after /sessions they mean this verb; beside other words they are flags of a list, or looked for.
ALONE = ("lock", "blockers", "blocking", "blocked", "waiting")
USAGE = "/sessions locks [tenant=…] [on=…] [private]"
EXAMPLES = (
    ("/sessions locks", "who holds up whom, the worst first, with what to close, or to wait for"),
    ("/sessions locks tenant=shop private", "the chains that touch one tenant, for you alone"),
)
TOPIC = Topic(USAGE, "Show who blocks whom, by locks of every kind", EXAMPLES)

_VOCABULARY = Vocabulary.of(("tenant", "source"), ("private",))


@dataclass(frozen=True, slots=True)
class LocksArguments:
    """What was typed after ``locks``; ``notes`` are sentences on what had to be corrected."""

    tenant: str | None = None
    source: str | None = None
    private: bool = False
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The same in words that ``parse`` reads back."""
        said = [f"on={quoted(self.source)}"] if self.source else []
        said += [f"tenant={quoted(self.tenant)}"] if self.tenant else []
        return " ".join([*said, *(["private"] if self.private else [])])


def parse(text: str) -> LocksArguments:
    """Read the normalized text after ``locks``. Raises ``InputError``."""
    typed = keys_and_flags.read(text, _VOCABULARY, EXAMPLES[1][0])
    given = typed.values
    return LocksArguments(given.get("tenant"), given.get("source"), "private" in typed.flags, typed.notes)


@dataclass(frozen=True, slots=True)
class LocksCommand:
    """What /sessions locks, its Refresh, and the button Who blocks? do."""

    sessions: SessionService
    access: Access
    defaults: Defaults
    disclosures: Disclosures
    adviser: Adviser

    def answer(self, command: Command, text: str) -> None:
        """Answer the command."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        arguments = parse(text)
        source = self.defaults.source_for(arguments.source, command.channel, allowed)
        scope = self.access.scope(command.person, Right.VIEW, source, command.channel)
        tenant = arguments.tenant or self.defaults.tenant_for(source, command.channel)
        if tenant is not None:
            self.access.require(command.person, Right.VIEW, source, command.channel, tenant)
        asked = LocksArguments(tenant, source, arguments.private, arguments.notes)
        message = self._message(asked, scope, None if asked.private else Asker.of(command.person, scope))
        (command.reply.private if asked.private else command.reply.public)(message)

    def refresh(self, press: Press) -> None:
        """Read them again, as the asker of the message may see them, in its place."""
        asked = parse(press.value)
        tenants = frozenset({asked.tenant}) if asked.tenant is not None else None
        scope = kept_view(press, self.access, self.sessions, asked.source or "", tenants)
        message = self._message(asked, scope, Asker.read(press.block_id))
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def open(self, press: Press) -> None:
        """Answer beside a list or a card, as far as the presser may see it."""
        asked = parse(press.value)
        own = own_view(press, self.access, self.sessions, asked.source or "")
        if asked.tenant is not None and not own.covers(asked.tenant):  # no waits would say that there are none
            raise NotAllowedError("You may not see these sessions. /sessions lists those that you may see.")
        asked = LocksArguments(asked.tenant, asked.source, press.ephemeral)
        message = self._message(asked, own, None if press.ephemeral else Asker.of(press.person, own))
        (press.reply.private if press.ephemeral else press.reply.public)(message)

    def _message(self, asked: LocksArguments, scope: Scope, asker: Asker | None) -> Message:
        source = self.sessions.source(asked.source or "")
        tenants = source.configured(scope.tenants)
        wanted = tenants if asked.tenant is None else source.configured(frozenset({asked.tenant}))
        self.adviser.look_ahead(source.name)
        graph = source.waits().seen_by(wanted)
        advised, left = self._advised(graph, tenants)
        told = view.Locks(
            graph, tenants, asked.words, advised, left, None if graph.waits else _open(source, wanted), asked.tenant
        )
        return view.locks(told, asked.notes, disclosure=self.disclosures.shown(source.name), asker=asker)

    def _advised(self, graph: WaitGraph, tenants: Tenants) -> tuple[tuple[view.Advised, ...], int]:
        """Return the worst with what is advised about them, and how many more there are."""

        def advise(waits: WaitGraph, who: Session | Prepared) -> Advice:
            return self.adviser.advise(waits, who, tenants)

        causes = blockages(graph)
        found = with_advice(graph, causes, tenants, advise)
        advised = tuple(view.Advised(one, advice) for one, advice in islice(found, view.MOST))
        shown = sum(not one.blockage.waiting for one in advised)
        return advised, sum(not one.waiting for one in causes) - shown


def _open(source: DataSource, tenants: Tenants) -> view.Open | None:
    """Say how many transactions are open; None where that cannot be read now. Raises ``NotAllowedError``."""
    try:
        found = source.transactions(tenants)
    except (DataSourceError, BusyError):
        return None
    return view.Open(len(found.open), found.oldest, found.more)


def register(registrar: Registrar, command: LocksCommand) -> None:
    """Announce the buttons."""
    registrar.press(view.REFRESH, command.refresh, asks=diagnosed)
    registrar.press(session_list.WHO_BLOCKS, command.open, asks=diagnosed)
