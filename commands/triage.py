"""/sessions triage: what is wrong now, worst first, with what to close, or that nothing should be."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

import structlog

from bot.access import Access, Person, Right
from bot.closing import targets
from bot.closing.advice import Adviser
from bot.closing.disclosures import Disclosures
from bot.closing.model import CardPlace, ClosingRequest
from bot.closing.requests import ClosingRequests
from bot.errors import NotAllowedError, TargetError
from bot.sessions.address import host_of
from bot.sessions.asking import ask_each
from bot.sessions.diagnosis.examination import Examination, Helpers, Result
from bot.sessions.diagnosis.survey import Limit
from bot.sessions.diagnosis.triage import Look, Thresholds, digest_of, dispensable
from bot.sessions.model import Condition, Field, Mode, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.source_health import Tenants
from bot.sessions.waits.graph import place_of
from bot.slack.arguments import keys_and_flags
from bot.slack.arguments.tokens import quoted
from bot.slack.arguments.vocabulary import Vocabulary
from bot.slack.defaults import Defaults
from bot.slack.delivery.replies import Reply
from bot.slack.events import Asked, Command, Press, Registrar, of_diagnosis, of_source
from bot.slack.session_reference import Asker, kept_view
from bot.slack.views import triage as view
from bot.slack.views.help import Topic
from bot.slack.views.triage_findings import CLOSE_IDLE, CLOSE_QUERIES, Several, Shown

NAME = "triage"  # the verb after /sessions
USAGE = "/sessions triage [tenant=…] [on=…] [private]"
EXAMPLES = (
    ("/sessions triage", "what is wrong now, worst first, with the button that ends it"),
    ("/sessions triage tenant=shop private", "of one tenant, for you alone"),
)
TOPIC = Topic(USAGE, "Say what is wrong now, and what to close, or to wait for", EXAMPLES)

FIRST = 1.8  # seconds until what is known is told, while the rest goes on: before it is told that one waits
AGAIN = 2.0  # seconds between two tellings of what came meanwhile
PATIENCE = 15.0  # seconds until an answer is given without those that hang
LATER = 100  # answers that are told to their end at a time without a worker
SEVERAL = Asked("triage of all data sources")

_VOCABULARY = Vocabulary.of(("tenant", "source"), ("private",))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TriageArguments:
    """What was typed after ``triage``; ``notes`` are sentences on what had to be corrected."""

    source: str | None = None
    tenant: str | None = None
    private: bool = False
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The same as it would be typed again."""
        keys = (("on", self.source), ("tenant", self.tenant))
        return " ".join(f"{key}={quoted(value)}" for key, value in keys if value is not None)


def parse(text: str) -> TriageArguments:
    """Read the normalized text after ``triage``. Raises ``InputError``."""
    typed = keys_and_flags.read(text, _VOCABULARY, EXAMPLES[1][0])
    return TriageArguments(
        typed.values.get("source"), typed.values.get("tenant"), "private" in typed.flags, typed.notes
    )


class Late:
    """Which data sources somebody waits for who has been told already what is known of the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: Counter[str] = Counter()

    def has(self, names: Collection[str]) -> bool:
        """Whether all of these are such; so it is where there is none."""
        with self._lock:
            return all(self._names[name] for name in names)

    @contextlib.contextmanager
    def of(self, names: Collection[str]) -> Iterator[None]:
        """Note these for as long as the block."""
        with self._lock:
            self._names.update(names)
        try:
            yield
        finally:
            with self._lock:
                self._names.subtract(names)


class Later:
    """Goes on in threads of its own with what is told by and by, so that those who come meanwhile have a worker."""

    def __init__(self) -> None:
        self._room = threading.Semaphore(LATER)

    def run(self, told: Iterator[bool]) -> None:
        """Tell the rest; here where too much is told so already."""
        if not self._room.acquire(blocking=False):
            _all_of(told)
            return

        def go_on() -> None:
            try:
                _all_of(told)
            except Exception:
                log.exception("triage not told to its end")
            finally:
                self._room.release()

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(go_on,), name="triage-told", daemon=True).start()


def _all_of(told: Iterator[bool]) -> None:
    for _ in told:
        pass


@dataclass(frozen=True, slots=True)
class TriageCommand:
    """What /sessions triage and its buttons do."""

    sessions: SessionService
    requests: ClosingRequests
    access: Access
    defaults: Defaults
    disclosures: Disclosures
    thresholds: Thresholds
    adviser: Adviser
    show: Callable[[ClosingRequest, Reply, str], None]  # posts the card of a request, with a sentence on it
    late: Late = field(default_factory=Late)
    later: Later = field(default_factory=Later)

    def answer(self, command: Command, text: str) -> None:
        """Answer the command; what takes longer is told by and by."""
        arguments = parse(text)
        scopes = self._scopes(command.person, command.channel, arguments)
        shown = self._shown(scopes, arguments.notes)
        if not arguments.private:
            shown = replace(shown, asker=self._asker(command.person, command.channel, scopes))
        results = self._results(scopes, by_and_by=not arguments.private)
        told = _told(command.reply, results, shown, private=arguments.private)
        if next(told):
            self.later.run(told)

    def asked(self, command: Command, text: str) -> Asked:
        """Say what a command will wait for; raises as ``answer``."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        here = self.defaults.channels.get(command.channel)
        source = parse(text).source
        if source is None and (here is None or here.data_source not in allowed):
            return SEVERAL
        return of_diagnosis(self.defaults.source_for(source, command.channel, allowed))

    def again(self, press: Press) -> None:
        """Look again, in the place of the answer; of several data sources, with the presser's rights, below it."""
        arguments = _typed(press.value)
        if not press.ephemeral and arguments.source is None:
            self.answer(
                Command("/sessions", NAME, press.person, press.channel, press.trigger_id, press.reply), arguments.words
            )
            return
        if press.ephemeral or arguments.source is None:
            scopes, asker = self._scopes(press.person, press.channel, arguments), None
        else:
            named = frozenset({arguments.tenant}) if arguments.tenant is not None else None
            scope = kept_view(press, self.access, self.sessions, arguments.source, named).narrowed(named)
            scopes, asker = {arguments.source: Looked(scope.tenants, arguments.tenant)}, Asker.read(press.block_id)
        shown = replace(self._shown(scopes), asker=asker)

        def tell() -> Iterator[bool]:
            for results in self._results(scopes, by_and_by=False):
                press.reply.replace(view.triage(results, shown), ephemeral=press.ephemeral, ts=press.message_ts)
                yield any(one.pending for one in results)

        told = tell()
        if next(told):
            self.later.run(told)

    def asks(self, press: Press) -> Asked:
        """Say what a press on Refresh will wait for."""
        source = _typed(press.value).source
        return of_diagnosis(source) if source is not None else SEVERAL

    def close_queries(self, press: Press) -> None:
        """Ask to close the queries of one statement that many run at once, as they are now."""
        several = Several.read(press.value)
        over = self.thresholds.same_statement_over

        def fits(session: Session, look: Look) -> bool:
            statement = session.statement
            if statement is None or digest_of(statement) != several.what or look.waits_itself(session):
                return False
            return session.running and session.time > over

        where = f"one statement that runs for over {over:g} s in many sessions"
        self._close(press, several, Mode.QUERY, fits, where, "That statement does not run for so long any more.")

    def close_idle(self, press: Press) -> None:
        """Ask to close what a client has idle outside of a transaction, as it is now."""
        several = Several.read(press.value)

        def fits(session: Session, look: Look) -> bool:
            counted = Limit("", 0, 0, several.user, host=several.server).counts(session)
            return counted and host_of(session.client.origin) == several.what and dispensable(session, look)

        where = f"host=={several.what} idle, outside of a transaction"
        self._close(press, several, Mode.SESSION, fits, where, f"{several.what} has nothing idle any more.")

    def closes(self, press: Press) -> Asked:
        """Say on which data source a press closes something."""
        return of_source(Several.read(press.value).source, closing=True)

    def _close(
        self,
        press: Press,
        several: Several,
        mode: Mode,
        fits: Callable[[Session, Look], bool],
        where: str,
        gone: str,
    ) -> None:
        """Ask to close those that fit; they are read anew, and once more with all that a pin compares."""
        meant = frozenset(several.tenants) if several.tenants is not None else None
        if meant is not None and len(meant) == 1:
            self.access.require(press.person, Right.CLOSE, several.source, press.channel, *meant)
        tenants = self.access.scope(press.person, Right.CLOSE, several.source, press.channel).narrowed(meant).tenants
        source = self.sessions.source(several.source)
        look = Look(
            source.survey(tenants).sessions, source.waits(), may_close=self._closable, is_thread=source.is_thread
        )
        found = {place_of(one) for one in look.sessions or () if self._closable(one) and fits(one, look)}
        if not found:
            if tenants is not None and (meant is None or not meant <= tenants):
                raise NotAllowedError(view.not_all_yours())
            raise TargetError(view.nothing_left(gone))
        ids = tuple({number: None for _, number, _ in found})
        command = f"/kill-session {','.join(map(str, ids[: self.requests.max_targets(several.source)]))}"
        command += f"{' query' if mode is Mode.QUERY else ''} on={quoted(several.source)}"
        asked = self.requests.ask_where(
            press.person,
            press.channel,
            SessionQuery(several.source, SessionFilter((Condition(Field.ID, Operator.EXACTLY, ids),))),
            mode,
            filter_text=where,
            command=command,
            look_again=f"/sessions {NAME} on={quoted(several.source)}",
            fits=lambda one: place_of(one) in found and fits(one, look),
            delivery=press.delivery,
        )
        for number, request in enumerate(asked, 1):
            one_of_several = f"Card {number} of {len(asked)}: these sessions have different approvers."
            self.show(request, press.reply, one_of_several if len(asked) > 1 else "")

    def _asker(self, person: Person, channel: str, scopes: Mapping[str, Looked]) -> Asker | None:
        """Remember whose view a public answer shows; of several data sources Refresh keeps none."""
        names = list(scopes)
        return Asker.of(person, self.access.scope(person, Right.VIEW, names[0], channel)) if len(names) == 1 else None

    def _scopes(self, person: Person, channel: str, arguments: TriageArguments) -> dict[str, Looked]:
        """Return what is looked at: one data source that is named or the channel's, else all that one may see.

        One that has no such tenant is left out of several. Raises ``InputError``, ``NotAllowedError`` or
        ``PersonUnknownError``.
        """
        allowed = self.access.sources(person, Right.VIEW, self.sessions.names, channel)
        here = self.defaults.channels.get(channel)
        names: Collection[str] = allowed
        if arguments.source is not None or (here is not None and here.data_source in allowed):
            names = [self.defaults.source_for(arguments.source, channel, allowed)]
        else:
            for unsaid in allowed.unsaid.values():
                raise unsaid  # it looks at all that there are
        found: dict[str, Looked] = {}
        refused: NotAllowedError | None = None
        for name in names:
            tenant = arguments.tenant or self.defaults.tenant_for(name, channel)
            try:
                if tenant is not None:
                    self.access.require(person, Right.VIEW, name, channel, tenant)
                scope = self.access.scope(person, Right.VIEW, name, channel)
            except NotAllowedError as error:
                refused = error
                continue
            found[name] = Looked(frozenset({tenant}) if tenant is not None else scope.tenants, tenant)
        if not found and refused is not None:
            raise refused
        return found

    def _shown(self, scopes: Mapping[str, Looked], notes: Sequence[str] = ()) -> Shown:
        only = next(iter(scopes)) if len(scopes) == 1 else None
        tenants = {one.tenant for one in scopes.values()}
        tenant = tenants.pop() if len(tenants) == 1 else None
        return Shown(
            self.disclosures.shown,
            self.requests.max_targets,
            self.thresholds,
            TriageArguments(only, tenant).words,
            notes=notes,
        )

    def _results(self, scopes: Mapping[str, Looked], *, by_and_by: bool) -> Iterator[list[Result]]:
        """Yield what is found: once all is known, or soon what is known by then, and at last all.

        In between again as more comes, where that is told ``by_and_by``.
        """
        until = monotonic() + PATIENCE
        looks = [self._examination(name, one.tenants) for name, one in scopes.items()]
        changed = threading.Condition()

        def examine(one: Examination) -> None:
            one.run()
            with changed:
                changed.notify_all()

        asks = {one.source.name: partial(examine, one) for one in looks}
        threading.Thread(target=ask_each, args=(asks, PATIENCE), name="triage", daemon=True).start()

        def pending() -> list[str]:
            return [one.source.name for one in looks if one.result.pending]

        # What others wait for already, longer than this does at first, need not be waited for once more.
        with changed:
            changed.wait_for(lambda: self.late.has(pending()), FIRST)
        with self.late.of(pending()):
            told: list[Result] = []
            while True:
                results = [one.result for one in looks]
                if not any(one.pending for one in results) or monotonic() + AGAIN >= until:
                    yield [_late(one) for one in results]
                    return
                if not told or (by_and_by and results != told):
                    yield results
                    told = results
                with changed:
                    changed.wait_for(lambda: not pending(), AGAIN)

    def _examination(self, name: str, tenants: Tenants) -> Examination:
        source = self.sessions.source(name)
        seen = source.configured(tenants)
        helpers = Helpers(
            advise=lambda graph, who: self.adviser.advise(graph, who, seen),
            past=self.adviser.past,
            require_past=partial(self.adviser.require_past, name),
            may_close=self._closable,
        )
        return Examination(source, tenants, self.thresholds, helpers)

    def _closable(self, session: Session) -> bool:
        return targets.closable(self.sessions, session)


def _told(reply: Reply, found: Iterator[list[Result]], shown: Shown, *, private: bool) -> Iterator[bool]:
    """Tell what is found as it comes, and yield whether it goes on."""
    place: list[CardPlace] = []
    for results in found:
        message = view.triage(results, shown)
        goes_on = any(one.pending for one in results)
        if place:
            reply.update(place[0], message)
        elif private:
            reply.private(message)
        elif goes_on:
            reply.post_card(message, place.append)
        else:
            reply.public(message)
        yield goes_on


@dataclass(frozen=True, slots=True)
class Looked:
    """What of a data source is looked at: ``tenant`` is the one that it was narrowed to, None for no such."""

    tenants: Tenants
    tenant: str | None = None


def _typed(value: str) -> TriageArguments:
    return parse("" if value == NAME else value)


def _late(result: Result) -> Result:
    if not result.pending:
        return result
    late = f"Data source {result.source} has not answered within {PATIENCE:.0f} s."
    problem = result.problem or ("" if result.checked else late)
    caveats = result.caveats if problem else (*result.caveats, f"Not all was checked: {late}")
    return replace(result, pending=False, problem=problem, caveats=caveats)


def register(registrar: Registrar, command: TriageCommand) -> None:
    """Announce the buttons of its answer."""
    registrar.press(view.AGAIN, command.again, asks=command.asks)
    registrar.press(CLOSE_QUERIES, command.close_queries, asks=command.closes, once=True)
    registrar.press(CLOSE_IDLE, command.close_idle, asks=command.closes, once=True)
