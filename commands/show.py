"""/sessions show: everything known about one session, and View SQL: its whole statement."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.access import Access, Right, Scope
from bot.closing.advice import Adviser
from bot.closing.audit_query import AuditTrail
from bot.closing.disclosures import Disclosures
from bot.closing.targets import is_on
from bot.errors import (
    BusyError,
    DataSourceError,
    InputError,
    NotAllowedError,
    SessionBotError,
    SlackRefusedError,
    TargetError,
)
from bot.sessions.model import Field, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.service import SessionService
from bot.slack.arguments import session_query
from bot.slack.arguments.tokens import quoted
from bot.slack.arguments.value_parsers import session_id
from bot.slack.defaults import Defaults
from bot.slack.delivery.message import Message
from bot.slack.events import Command, Press, Registrar, of_source
from bot.slack.session_reference import Asker, CardReference, SessionReference, kept_view, own_view, picked
from bot.slack.views import session_details, session_list, sql_modal
from bot.slack.views.help import Topic

NAME = "show"  # the verb after /sessions
USAGE = "/sessions show ID[@server] [tenant=…] [on=…] [private]"
EXAMPLE = "/sessions show 3221487826"
EXAMPLES = (
    (EXAMPLE, "its transaction, what it waits for, retries, memory, plan; and the buttons to close it"),
    ("/sessions show 3221487826@10.0.0.3", "the one on that server, where several have the id"),
)
TOPIC = Topic(USAGE, "Show everything known about one session", EXAMPLES)


@dataclass(frozen=True, slots=True)
class ShowArguments:
    """Which session is meant; ``query`` holds its data source, tenant and server as conditions."""

    id: int
    query: SessionQuery
    notes: tuple[str, ...] = ()

    def fits(self, session: Session) -> bool:
        """Whether this is a session that was meant: exactly that tenant, that address with its port or without."""
        tenant, server = self.named(Field.TENANT), self.named(Field.SERVER)
        return (tenant is None or session.tenant == tenant) and (server is None or is_on(session, server))

    def named(self, field: Field) -> str | None:
        """Return the value given for that field."""
        return next((str(one.values[0]) for one in self.query.filter.conditions if one.field is field), None)


def parse(text: str) -> ShowArguments:
    """Read ``ID[@server] [tenant=…] [server=…] [on=…] [private]``. Raises ``InputError``."""
    first, *rest = text.split(maxsplit=1)[:2] or [""]
    number, _, server = first.partition("@")
    if not number:
        raise InputError("Which session? Give its id; /sessions shows it in the first column.", example=EXAMPLE)
    wanted = session_id(number)
    parsed = session_query.parse(" ".join([*([f"server={quoted(server)}"] if server else []), *rest]))
    query = parsed.query
    if replace(query, source=None, private=False, filter=SessionFilter()) != SessionQuery() or query.filter.flags:
        raise InputError("show takes one session: no order, no page and no flag but private.", spot="", example=EXAMPLE)
    for condition in query.filter.conditions:
        if (
            condition.field not in (Field.TENANT, Field.SERVER)
            or condition.operator not in (Operator.CONTAINS, Operator.EXACTLY)
            or len(condition.values) > 1
        ):
            raise InputError(
                f"show takes one id, and tenant=, server= or on= to tell sessions with the same id apart. "
                f"To search by {condition.field.value}: /sessions {session_query.describe(query)}",
                spot=rest[0] if rest else "",
                example=f"/sessions show {wanted} tenant=shop",
            )
    return ShowArguments(wanted, query, parsed.notes)


@dataclass(frozen=True, slots=True)
class ShowCommand:
    """What /sessions show, Details, View SQL and the Refresh of a session's card do."""

    sessions: SessionService
    audit: AuditTrail
    access: Access
    defaults: Defaults
    disclosures: Disclosures
    adviser: Adviser

    def answer(self, command: Command, text: str) -> None:
        """Answer /sessions show with a card."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        arguments = parse(text)
        arguments = replace(arguments, query=self.defaults.completed(arguments.query, command.channel, allowed))
        source = arguments.query.source or ""
        scope = self.access.scope(command.person, Right.VIEW, source, command.channel)
        found = self.sessions.source(source).find(arguments.id, scope.tenants)
        here = [one for one in found if arguments.fits(one)]
        if not here:
            raise TargetError(_not_found(arguments, found))
        asker = None if arguments.query.private else Asker.of(command.person, scope)
        message = (
            self._card(here[0], scope, asker, arguments.notes) if len(here) == 1 else session_details.several(here)
        )
        (command.reply.private if arguments.query.private else command.reply.public)(message)

    def show_picked(self, press: Press) -> None:
        """Show the card of the session picked under a list, to those who see the list."""
        reference = picked(press)
        scope = own_view(press, self.access, self.sessions, reference.source)
        session = self._listed(reference, scope)
        asker = None if press.ephemeral else Asker.of(press.person, scope)
        (press.reply.private if press.ephemeral else press.reply.public)(self._card(session, scope, asker))

    def refresh(self, press: Press) -> None:
        """Rewrite a card in place with what is known now, as its asker may see it."""
        card = CardReference.read(press.value)
        reference, tenants = card.session, frozenset({card.tenant}) if card.tenant is not None else None
        own = own_view(press, self.access, self.sessions, reference.source)
        if tenants is not None and not own.covers(card.tenant):
            raise NotAllowedError(_NOT_YOURS)
        scope = kept_view(press, self.access, self.sessions, reference.source, tenants)
        session, others = self._look_up(reference, scope, card.tenant)
        if session is None:
            message = session_details.gone(reference, datetime.now(UTC), reused=bool(others))
        else:
            message = self._card(session, scope, Asker.read(press.block_id))
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def view_sql(self, press: Press) -> None:
        """Open the modal while the database is asked, fill it, and send what it does not hold as a file."""
        reference = picked(press)
        opened = press.reply.opening_modal(press.trigger_id, sql_modal.loading(reference.id), "View SQL")
        try:
            session = self._listed(reference, own_view(press, self.access, self.sessions, reference.source))
            disclosure = self.disclosures.of(press.person, session.source, press.channel, [session.tenant])
            session = self.sessions.source(session.source).whole(session)
            view_id = opened()
            if session.statement is not None and disclosure.literals:
                self.audit.note_sql_view(press.person, press.channel, session)
        except SessionBotError as error:
            with contextlib.suppress(SlackRefusedError):
                press.reply.update_modal(opened(), sql_modal.problem(reference.id, error.sentence))
            raise
        sql = sql_modal.SqlText.of(session, disclosure)
        press.reply.update_modal(view_id, sql_modal.statement(session, sql))
        if not sql.whole:
            try:
                press.reply.send_file(f"session-{session.id}.sql", f"SQL of {session.id}", sql.text)
            except SlackRefusedError as error:
                press.reply.update_modal(view_id, sql_modal.statement(session, sql, file_problem=error.sentence))

    def _listed(self, reference: SessionReference, scope: Scope) -> Session:
        session, _ = self._look_up(reference, scope)
        if session is None:
            raise TargetError(f"Session {reference.id} has ended since the list was made. Press Refresh.")
        return session

    def _look_up(
        self, reference: SessionReference, scope: Scope, tenant: str | None = None
    ) -> tuple[Session | None, list[Session]]:
        """Return the session, None when it has ended, and those within the scope that have its id.

        It is looked for among all: what may not be seen has not ended. Raises ``NotAllowedError`` for that, and
        ``TargetError`` where its server does not answer.
        """
        source = self.sessions.source(reference.source)
        seen = Scope(source.configured(scope.tenants))
        found = source.find_everywhere((reference.id,))
        session = next((one for one in found if reference.matches(one)), None)
        if session is not None and not seen.covers(session.tenant):
            raise NotAllowedError(_NOT_YOURS)
        if session is None:
            why = source.unseen(reference.server, tenant)
            if why:
                raise TargetError(f"Whether session {reference.id} is still there cannot be seen. {why}")
        return session, [one for one in found if seen.covers(one.tenant)]

    def _card(self, session: Session, scope: Scope, asker: Asker | None, notes: tuple[str, ...] = ()) -> Message:
        as_of = datetime.now(UTC)  # of the session; what else is read of it may take a while
        source = self.sessions.source(session.source)
        details = source.details(session)
        waiting = None
        with contextlib.suppress(DataSourceError, BusyError):
            graph, tenants = source.waits(), source.configured(scope.tenants)
            waiting = session_details.Waiting(graph, self.adviser.advise(graph, session, tenants), tenants)
        shown = self.disclosures.shown(session.source)
        return session_details.session_details(details, as_of, notes, disclosure=shown, waiting=waiting, asker=asker)


_NOT_YOURS = "You may not see this session. /sessions lists those that you may see."


def register(registrar: Registrar, command: ShowCommand) -> None:
    """Announce the buttons of lists and cards."""
    registrar.press(session_list.VIEW_SQL, command.view_sql, shows_progress=True)
    registrar.press(session_list.DETAILS, command.show_picked, asks=lambda press: of_source(picked(press).source))
    registrar.press(
        session_details.REFRESH,
        command.refresh,
        asks=lambda press: of_source(CardReference.read(press.value).session.source),
    )


def _not_found(arguments: ShowArguments, found: list[Session]) -> str:
    source = arguments.query.source
    where = "".join(
        f" {label} {value}"
        for label, value in (("of tenant", arguments.named(Field.TENANT)), ("on server", arguments.named(Field.SERVER)))
        if value
    )
    if found:
        others = ", ".join(f"{one.id}@{one.server or '-'} (tenant {one.tenant or '-'})" for one in found)
        return f"There is no session {arguments.id}{where} on {source}. There is {others}, though."
    return (
        f"There is no session {arguments.id}{where} on {source} that you may see. It may have ended, or it is "
        "of another data source or not yours to see. /sessions lists those that you may see; with on= those of "
        "another data source."
    )
