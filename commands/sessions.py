"""/sessions: lists sessions as OCP's session page does, and shows the SQL of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.access import Access, Right
from bot.closing.requests import ClosingRequests
from bot.errors import SessionBotError, SourceOpenError, TargetError
from bot.sessions.model import SessionQuery
from bot.sessions.service import SessionService
from bot.slack.arguments import parse
from bot.slack.channels import Defaults
from bot.slack.events import Command, Press, Registrar, Verb
from bot.slack.message import Message
from bot.slack.references import PICK, picked
from bot.slack.typed import repaired
from bot.slack.views import session_list, sql_modal
from bot.slack.views.help import HELP_WORDS, Topic, help_for
from bot.slack.views.notices import CHOOSE_SOURCE, notice, question

NAME = "/sessions"
USAGE = "[filter…] [active-only|idle] [private] | help"
DESCRIPTION = "List OceanBase sessions and close them"

EXAMPLES = (
    ("/sessions active-only", "what runs now, longest first"),
    ("/sessions tenant=shop user=app time>5m", "tenant is exact, user contains “app”, longer than five minutes"),
    ("/sessions host=10.0.3 db=orders,billing", "several values are alternatives"),
    ("/sessions sql=“update stock” status=ACTIVE", "by a piece of the SQL"),
    ("/sessions orders", "a word anywhere: SQL, user, source, database, server …"),
    ("/sessions 3221487826", "one session"),
    ("/sessions idle sort=-time limit=50 page=2", "idle ones, longest first"),
    ("/sessions active-only private", "only you see the answer; “text” gives plain text"),
)
TOPIC = Topic(f"{NAME} {USAGE}", DESCRIPTION, EXAMPLES)


@dataclass(frozen=True, slots=True)
class SessionsCommand:
    """What /sessions and the buttons under its answer do."""

    sessions: SessionService
    requests: ClosingRequests
    access: Access
    defaults: Defaults
    full_sql: Mapping[str, bool]  # by data source: whether SQL is shown with its literals
    verbs: Mapping[str, Verb] = field(default_factory=dict)  # /sessions VERB …: each a file of its own
    topics: Sequence[Topic] = ()  # what else help shows

    def answer(self, command: Command) -> None:
        """Answer the slash command."""
        try:
            self._answer(command)
        except SourceOpenError as error:
            command.reply.private(question(error, command.text))

    def answer_on(self, press: Press) -> None:
        """Run what was typed again, on the data source whose button was pressed."""
        press.reply.replace(notice(f"/sessions {press.value}"), ephemeral=press.ephemeral, ts=press.message_ts)
        self._answer(Command(NAME, press.value, press.person, press.channel, press.trigger_id, press.reply))

    def _answer(self, command: Command) -> None:
        text = repaired(command.text)
        if text.lower() in HELP_WORDS:
            names = self.sessions.names
            command.reply.private(help_for([TOPIC, *self.topics], self.access, names, command.person, command.channel))
            return
        first, _, rest = text.partition(" ")
        verb = self.verbs.get(first.lower())
        if verb is not None:
            verb(command, rest.strip())
            return
        parsed = parse(rest if first.lower() == "list" else text)
        query = self._completed(parsed.query, command)
        message = self._page(query, command, parsed.notes)
        (command.reply.private if query.private else command.reply.public)(message)

    def browse(self, press: Press) -> None:
        """Refresh, turn the page or toggle: the same question again, edited in place."""
        query = parse("" if press.value == "list" else press.value).query
        message = self._page(self._completed(query, press), press, ())
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def view_sql(self, press: Press) -> None:
        """Open the modal at once, fill it when the database has answered."""
        reference = picked(press)
        view_id = press.reply.open_modal(press.trigger_id, sql_modal.loading(reference.id))
        if view_id is None:
            raise TargetError("Slack did not open the window in time. Press View SQL once more.")
        try:
            scope = self.access.scope(press.person, Right.VIEW, reference.source, press.channel)
            found = self.sessions.find(reference.source, reference.id, scope.tenants)
            session = next((one for one in found if reference.matches(one)), None)
            if session is None:
                raise TargetError(f"Session {reference.id} has ended since the list was made. Press Refresh.")
            self.requests.record_sql_view(press.person, press.channel, session)
        except SessionBotError as error:
            press.reply.update_modal(view_id, sql_modal.problem(reference.id, error.sentence))
            raise
        press.reply.update_modal(view_id, sql_modal.statement(session))

    def _completed(self, query: SessionQuery, event: Command | Press) -> SessionQuery:
        """Fill in what the channel means when nothing is named."""
        allowed = self.access.sources(event.person, Right.VIEW, self.sessions.names, event.channel)
        return self.defaults.completed(query, event.channel, allowed)

    def _page(self, query: SessionQuery, event: Command | Press, notes: tuple[str, ...]) -> Message:
        source = query.source or ""
        scope = self.access.scope(event.person, Right.VIEW, source, event.channel)
        page = self.sessions.page(source, query, scope.tenants)
        return session_list.session_list(page, notes, full_sql=self.full_sql[source])


def register(registrar: Registrar, command: SessionsCommand) -> None:
    """Announce the command and the buttons of its answer."""
    registrar.command(NAME, command.answer)
    for action_id in (session_list.REFRESH, session_list.PREVIOUS, session_list.NEXT, session_list.TOGGLE_ACTIVE):
        registrar.press(action_id, command.browse)
    registrar.press(CHOOSE_SOURCE, command.answer_on)
    registrar.press(session_list.VIEW_SQL, command.view_sql, shows_progress=True)
    registrar.press(PICK, lambda _press: None)
