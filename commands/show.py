"""/sessions show: everything known about one session, and View SQL: its whole statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.access import Access, Right
from bot.closing.audit import Audit
from bot.closing.targets import is_on
from bot.errors import InputError, NotAllowedError, SessionBotError, TargetError
from bot.sessions.model import Field, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.service import SessionService
from bot.slack import arguments
from bot.slack.channels import Defaults
from bot.slack.events import Command, Press, Registrar
from bot.slack.message import Message
from bot.slack.references import SessionReference, picked
from bot.slack.values import session_id
from bot.slack.views import session_details, session_list, sql_modal
from bot.slack.views.help import Topic
from bot.slack.words import quoted

NAME = "show"  # the verb after /sessions
USAGE = "/sessions show ID[@server] [tenant=…] [source=…] [private]"
EXAMPLE = "/sessions show 3221487826"
EXAMPLES = (
    (EXAMPLE, "its transaction, what it waits for, retries, memory, plan; and the buttons to close it"),
    ("/sessions show 3221487826@10.0.0.3", "the one on that server, where several have the id"),
)
TOPIC = Topic(USAGE, "Show everything known about one session", EXAMPLES)


@dataclass(frozen=True, slots=True)
class Wish:
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


def parse(words: str) -> Wish:
    """Read ``ID[@server] [tenant=…] [server=…] [source=…] [private]`` (already repaired). Raises ``InputError``."""
    first, *rest = words.split(maxsplit=1)[:2] or [""]
    number, _, server = first.partition("@")
    if not number:
        raise InputError("Which session? Give its id; /sessions shows it in the first column.", example=EXAMPLE)
    wanted = session_id(number)
    parsed = arguments.parse(" ".join([*([f"server={quoted(server)}"] if server else []), *rest]))
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
                f"show takes one id, and tenant=, server= or source= to tell sessions with the same id apart. "
                f"To search by {condition.field.value}: /sessions {arguments.describe(query)}",
                spot=rest[0] if rest else "",
                example=f"/sessions show {wanted} tenant=shop",
            )
    return Wish(wanted, query, parsed.notes)


@dataclass(frozen=True, slots=True)
class ShowCommand:
    """What /sessions show, Details, View SQL and the Refresh of a session's card do."""

    sessions: SessionService
    audit: Audit
    access: Access
    defaults: Defaults
    full_sql: Mapping[str, bool]  # by data source: whether SQL is shown with its literals

    def answer(self, command: Command, words: str) -> None:
        """Answer /sessions show with a card."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        wish = parse(words)
        wish = replace(wish, query=self.defaults.completed(wish.query, command.channel, allowed))
        found = self._find(command, wish.query.source or "", wish.id)
        here = [one for one in found if wish.fits(one)]
        if not here:
            raise TargetError(_not_found(wish, found))
        message = self._card(here[0], wish.notes) if len(here) == 1 else session_details.several(here)
        (command.reply.private if wish.query.private else command.reply.public)(message)

    def show_picked(self, press: Press) -> None:
        """Show the card of the session picked under a list, to those who see the list."""
        session = self._listed(press, picked(press))
        (press.reply.private if press.ephemeral else press.reply.public)(self._card(session))

    def refresh(self, press: Press) -> None:
        """Rewrite a card in place with what is known now."""
        reference = SessionReference.read(press.value)
        found = self._find(press, reference.source, reference.id)
        session = next((one for one in found if reference.matches(one)), None)
        if session is None:
            self._refuse_unseen(reference)
            message = session_details.gone(reference, datetime.now(UTC), reused=bool(found))
        else:
            message = self._card(session)
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def view_sql(self, press: Press) -> None:
        """Open the modal at once, fill it when the database has answered."""
        reference = picked(press)
        view_id = press.reply.open_modal(press.trigger_id, sql_modal.loading(reference.id))
        if view_id is None:
            raise TargetError("Slack did not open the window in time. Press View SQL once more.")
        try:
            session = self._listed(press, reference)
            literals = self._sees_literals(press, session)
            if session.sql is not None and literals:
                self.audit.note_sql_view(press.person, press.channel, session)
        except SessionBotError as error:
            press.reply.update_modal(view_id, sql_modal.problem(reference.id, error.sentence))
            raise
        sql = sql_modal.SqlText.of(session, literals=literals)
        sent = not sql.whole and press.reply.send_file(f"session-{session.id}.sql", f"SQL of {session.id}", sql.text)
        press.reply.update_modal(view_id, sql_modal.statement(session, sql, file_sent=sent))

    def _find(self, event: Command | Press, source: str, number: int) -> list[Session]:
        scope = self.access.scope(event.person, Right.VIEW, source, event.channel)
        return self.sessions.find(source, number, scope.tenants)

    def _listed(self, press: Press, reference: SessionReference) -> Session:
        found = self._find(press, reference.source, reference.id)
        session = next((one for one in found if reference.matches(one)), None)
        if session is None:
            self._refuse_unseen(reference)
            raise TargetError(f"Session {reference.id} has ended since the list was made. Press Refresh.")
        return session

    def _refuse_unseen(self, reference: SessionReference) -> None:
        """Call nothing ended that is only not to be seen, since its server does not answer."""
        why = self.sessions.source(reference.source).unseen(reference.server)
        if why:
            raise TargetError(f"Whether session {reference.id} is still there cannot be seen. {why}")

    def _card(self, session: Session, notes: tuple[str, ...] = ()) -> Message:
        details = self.sessions.source(session.source).details(session)
        return session_details.session_details(
            details, datetime.now(UTC), notes, full_sql=self.full_sql[session.source]
        )

    def _sees_literals(self, press: Press, session: Session) -> bool:
        """Whoever may close it must be able to judge what he closes."""
        if self.full_sql[session.source]:
            return True
        try:
            self.access.require(press.person, Right.CLOSE, session.source, press.channel, session.tenant)
        except NotAllowedError:
            return False
        return True


def register(registrar: Registrar, command: ShowCommand) -> None:
    """Announce the buttons of lists and cards."""
    registrar.press(session_list.VIEW_SQL, command.view_sql, shows_progress=True)
    registrar.press(session_list.DETAILS, command.show_picked)
    registrar.press(session_details.REFRESH, command.refresh)


def _not_found(wish: Wish, found: list[Session]) -> str:
    source = wish.query.source
    where = "".join(
        f" {label} {value}"
        for label, value in (("of tenant", wish.named(Field.TENANT)), ("on server", wish.named(Field.SERVER)))
        if value
    )
    if found:
        others = ", ".join(f"{one.id}@{one.server or '-'} (tenant {one.tenant or '-'})" for one in found)
        return f"There is no session {wish.id}{where} on {source}. There is {others}, though."
    return (
        f"There is no session {wish.id}{where} on {source} that you may see. It has ended, or the id is of another "
        "data source. /sessions lists those there are; with source= those of another data source."
    )
