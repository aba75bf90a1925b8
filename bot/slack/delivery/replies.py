"""Sends messages to where a payload came from, with a way out when Slack refuses one."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse

from bot.closing.model import CardPlace
from bot.errors import AnsweredElsewhereError, SlackRefusedError
from bot.slack.client import AGAIN, Client
from bot.slack.connections import AnswerLostError
from bot.slack.delivery.card_writer import Written
from bot.slack.delivery.meanwhile import meanwhile
from bot.slack.delivery.message import HomeTab, Message, from_elsewhere, sentence
from bot.slack.delivery.outbox import Outbox
from bot.slack.delivery.retries import may_retry
from bot.slack.slack_errors import (
    BLOCKS_REFUSED,
    CALL_ERRORS,
    FAILED,
    VIEW_REFUSED,
    Kind,
    SlackError,
    of_answer,
    slack_error,
)
from bot.slack.telemetry import NoTelemetry, Telemetry

log = structlog.get_logger(__name__)

_Kind = Literal["in_channel", "ephemeral"]

_Blocks = list[dict[str, Any]]

_EXCHANGED = "exchanged_trigger_id"

_LOST = (
    "The connection to Slack broke while the bot answered you. If you see no answer, ask once more: Slack did not say "
    "whether it took it."
)

_INSTEAD = "In a channel, /sessions sources shows the data sources, and /sessions help what you may do."

# Names and addresses in a text become no mentions and no links; chat.update looks for them unless it is told not to.
_LITERAL: Mapping[str, Any] = {"parse": "none", "link_names": False}
_NO_PREVIEWS: Mapping[str, Any] = {"unfurl_links": False, "unfurl_media": False}


class Reply:
    """Answers one command or press. Where no method says otherwise, none raises: what cannot be shown is logged.

    An answer that Slack does not take now goes to the ``outbox``, if there is one, and is shown later. Where the place
    that it is meant for takes nothing any more, the person has it by direct message.
    """

    def __init__(
        self,
        client: Client,
        response_url: str,
        channel: str,
        user: str,
        *,
        home: bool = False,
        telemetry: Telemetry | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self._client = client
        self._telemetry = telemetry or NoTelemetry()
        self._outbox = outbox
        self._channel = channel
        self._user = user
        self._home = home  # whether the person looks at the Home tab, which is in no channel
        self._home_told = False
        self.response_url = response_url
        self.answering = False
        """Whether an answer is on its way, which may wait for Slack."""

    def public(self, message: Message) -> bool:
        """Post a message that the whole channel sees."""
        return self._kept("answer", message, lambda: _first(self._said(message, "in_channel"), self._post(message)))

    def private(self, message: Message) -> bool:
        """Show a message to the person alone; in the Home tab where they look at that."""
        if self._home:
            return self._published(HomeTab(message.blocks)) is None or self._told("home", message)
        return self._kept("private answer", message, lambda: self._privately(message))

    def replace(self, message: Message, *, ephemeral: bool = False, ts: str = "") -> bool:
        """Rewrite the message that was pressed on; where that is gone, show it to the person alone."""
        kind: _Kind = "ephemeral" if ephemeral else "in_channel"
        if self._send(message, kind, replace=True) is Written.TAKEN:
            return True
        if ts and not ephemeral and self.update(CardPlace(self._channel, ts), message).taken:
            return True
        return self.private(message)

    def rewrite(self, message: Message) -> Written:
        """Rewrite the message that was pressed on, and say what is known of it; Slack takes five in half an hour."""
        return self._send(message, "in_channel", replace=True)

    def post_card(self, message: Message, placed: Callable[[CardPlace], object]) -> None:
        """Post a message that must be rewritten later; ``placed`` is told its place, when that is known."""

        def post() -> Iterator[Written]:
            place = post_in(self._client, self._channel, message)
            if isinstance(place, CardPlace):
                placed(place)
                yield Written.TAKEN
            else:
                yield place
                yield self._send(message, "in_channel", replace=False)

        self._kept("card", message, lambda: _first(post()), card=True)

    def update(self, place: CardPlace, message: Message) -> Written:
        """Rewrite a message by its place."""
        return update(self._client, place, message)

    def opening_modal(self, trigger_id: str, view: Mapping[str, Any], button: str) -> Callable[[], str]:
        """Open a modal while this thread goes on; what is returned waits for its id, and raises, as ``open_modal``."""
        return meanwhile(lambda: self.open_modal(trigger_id, view, button))

    def open_modal(self, trigger_id: str, view: Mapping[str, Any], button: str) -> str:
        """Open a modal and return its id; ``button`` names what was pressed for it.

        Raises ``SlackRefusedError``, ``AnsweredElsewhereError`` where another replica has opened it.
        """
        try:
            answer = self._client.views_open(trigger_id=trigger_id, view=dict(view))
        except CALL_ERRORS as error:
            what = slack_error(error)
            if what.word == _EXCHANGED and not _was_called_before(error):
                raise AnsweredElsewhereError("Another replica has opened the window.") from error
            log.warning("modal not opened", error=what.word)
            again = f"Press {button} once more."
            advice = _sentence(what.advice) if what.final and what.kind is not Kind.WINDOW else again
            raise SlackRefusedError(f"Slack did not open the window ({what.why}). {advice}") from error
        return str(answer["view"]["id"])

    def update_modal(self, view_id: str, view: Mapping[str, Any]) -> None:
        """Replace what a modal shows, unless the person has closed it. Raises ``SlackRefusedError``."""
        try:
            self._client.views_update(view_id=view_id, view=dict(view))
        except CALL_ERRORS as error:
            what = slack_error(error)
            log.warning("modal not updated", error=what.word)
            if what.kind is not Kind.WINDOW:
                advice = what.advice if what.final else "close it, and press the button once more"
                raise SlackRefusedError(f"Slack did not fill the window ({what.why}). {_sentence(advice)}") from error

    def send_file(self, name: str, title: str, text: str, *, kind: str = "sql") -> None:
        """Send the person alone a text file of a kind of snippet by direct message.

        A file cannot be ephemeral (docs/slack.md 2.3). Raises ``SlackRefusedError``.
        """
        channel = meanwhile(lambda: self._client.direct_message(self._user))
        content = text.encode()
        try:
            place = self._client.files_getUploadURLExternal(filename=name, length=len(content), snippet_type=kind)
            uploaded = self._client.upload(str(place["upload_url"]), content)
            if uploaded.status != 200:
                raise _refused_file(of_answer(uploaded.status, ""))
            files = [{"id": place["file_id"], "title": title}]
            self._client.files_completeUploadExternal(files=files, channel_id=channel())
        except CALL_ERRORS as error:
            what = slack_error(error)
            log.warning("file not sent", error=what.word)
            raise _refused_file(what) from error

    def publish_home(self, tab: HomeTab) -> bool:
        """Fill the person's Home tab. Where Slack does not take it they hear so by direct message, once."""
        refused = self._published(tab)
        if refused is not None and not self._home_told:
            self._home_told = True
            text = f"Slack did not show the Home tab ({refused.why}). {_sentence(refused.advice)} {_INSTEAD}"
            self._told("home", sentence(text))
        return refused is None

    def _published(self, tab: HomeTab) -> SlackError | None:
        """Publish it, with plainer blocks where Slack refuses one or leaves it out; return why it was not."""
        published = False
        refused = None
        for view in tab.views():
            try:
                answer = self._client.views_publish(user_id=self._user, view=view)
            except CALL_ERRORS as error:
                what = slack_error(error)
                log.warning("home not published", error=what.word)
                refused = what
                if what.word not in VIEW_REFUSED:
                    break
            else:
                published = True
                if _shows_all(answer, view):
                    break
        return None if published else refused

    def _kept(self, what: str, message: Message, send: Callable[[], Written], *, card: bool = False) -> bool:
        """Send it, now or later; the person has the ``message`` by direct message where nothing else is left."""
        self.answering = self.answering or may_retry()
        written = self._sent(what, send)
        if written.taken or written is Written.LOST:
            return written.taken
        instead = from_elsewhere(message, self._channel, card=card) if self._channel else message
        if written is Written.GONE and self._told(what, instead):
            return True
        if self._outbox is not None and may_retry():  # else it is old by then
            self._outbox.keep(what, lambda: _settled(self._sent(what, send)), lambda: self._told(what, instead))
        return False

    def _sent(self, what: str, send: Callable[[], Written]) -> Written:
        """Send it; where its end is lost, say so instead of sending it once more: it might stand there twice."""
        written = send()
        if written is Written.LOST:
            log.warning("answer may be lost", what=what)
            lost = sentence(_LOST)
            if may_retry() and not _settled(self._privately(lost)) and self._outbox is not None:
                self._outbox.keep("notice of a lost answer", lambda: _settled(self._privately(lost)))
        return written

    def _privately(self, message: Message) -> Written:
        return _first(self._said(message, "ephemeral"), self._post_ephemeral(message))

    def _told(self, what: str, message: Message) -> bool:
        """Send it by direct message."""
        told = tell(self._client, self._user, message)
        if isinstance(told, CardPlace):
            log.info("answer told by direct message", what=what)
            return True
        log.error("answer told nowhere", what=what, error=told.word)
        return False

    def _said(self, message: Message, kind: _Kind) -> Iterator[Written]:
        yield self._send(message, kind, replace=False)

    def _send(self, message: Message, kind: _Kind, *, replace: bool) -> Written:
        if not self.response_url:
            return Written.GONE
        for blocks in _versions(message):
            try:
                answer = self._client.respond(
                    self.response_url,
                    {
                        "text": message.text,
                        "blocks": blocks,
                        "response_type": kind,
                        "replace_original": replace,
                        "delete_original": False,
                        **_LITERAL,
                        **_NO_PREVIEWS,
                    },
                    repeatable=replace,
                )
            except CALL_ERRORS as error:
                what = slack_error(error)
                log.warning("response url failed", error=what.word)
                self._telemetry.called("response_url", what.word, reached=False)
                return _unanswered(error)
            word = _word_of(answer.text)
            if answer.status == 200 and not word:
                self._telemetry.called("response_url", "")
                return Written.TAKEN
            what = of_answer(answer.status, word)
            log.warning("response url refused", status=answer.status, error=what.word)
            self._telemetry.called("response_url", what.word, reached=what.reached)
            if what.word not in BLOCKS_REFUSED:
                return _written(what)
        return Written.REFUSED

    def _post(self, message: Message) -> Iterator[Written]:
        place = post_in(self._client, self._channel, message)
        yield Written.TAKEN if isinstance(place, CardPlace) else place

    def _post_ephemeral(self, message: Message) -> Iterator[Written]:
        def post(blocks: _Blocks) -> SlackResponse:
            return self._client.chat_postEphemeral(
                channel=self._channel, user=self._user, text=message.text, blocks=blocks, **_LITERAL
            )

        try:
            _deliver(post, message, "private message not posted")
        except CALL_ERRORS as error:
            yield _failed(error)
        else:
            yield Written.TAKEN


def post_in(client: Client, channel: str, message: Message) -> CardPlace | Written:
    """Post a message into a channel that the bot is in; say what is known of it where Slack does not take it."""
    try:
        return _posted(client, channel, message)
    except CALL_ERRORS as error:
        return _failed(error)


def tell(client: Client, person: str, message: Message) -> CardPlace | SlackError:
    """Send somebody a direct message; say why where Slack does not take it, as for people who have left."""
    try:
        channel = client.direct_message(person)
    except CALL_ERRORS as error:
        log.warning("direct message not opened", error=slack_error(error).word)
        return slack_error(error)
    try:
        return _posted(client, channel, message)
    except CALL_ERRORS as error:
        return slack_error(error)


def _posted(client: Client, channel: str, message: Message) -> CardPlace:
    def send(blocks: _Blocks) -> SlackResponse:
        return client.chat_postMessage(channel=channel, text=message.text, blocks=blocks, **_LITERAL, **_NO_PREVIEWS)

    answer = _deliver(send, message, "message not posted")
    return CardPlace(str(answer["channel"]), str(answer["ts"]))


def update(client: Client, place: CardPlace, message: Message) -> Written:
    """Rewrite a message by its place."""

    def rewrite(blocks: _Blocks) -> SlackResponse:
        return client.chat_update(channel=place.channel, ts=place.ts, text=message.text, blocks=blocks, **_LITERAL)

    try:
        _deliver(rewrite, message, "message not rewritten")
    except CALL_ERRORS as error:
        return _failed(error)
    return Written.TAKEN


def _first(*ways: Iterator[Written]) -> Written:
    """Try one way after the other until one is taken, or may have been; gone is only what is gone by all of them."""
    found = Written.GONE
    for written in itertools.chain(*ways):
        if _settled(written):
            return written
        found = written if found is Written.GONE else found
    return found


def _deliver(call: Callable[[_Blocks], SlackResponse], message: Message, failure: str) -> SlackResponse:
    """Call Slack with the blocks as meant, then with plainer ones as long as it refuses the blocks.

    Raises one of ``CALL_ERRORS`` where it takes none.
    """
    *richer, plainest = _versions(message)
    for blocks in richer:
        try:
            return call(blocks)
        except CALL_ERRORS as error:
            if (what := slack_error(error)).word not in BLOCKS_REFUSED:
                log.warning(failure, error=what.word)
                raise
    try:
        return call(plainest)
    except CALL_ERRORS as error:
        log.warning(failure, error=slack_error(error).word)
        raise


def _failed(error: Exception) -> Written:
    """Say what is known of a message at which one of ``CALL_ERRORS`` was raised."""
    return _unanswered(error) if isinstance(error, AnswerLostError) else _written(slack_error(error))


def _unanswered(error: Exception) -> Written:
    return Written.LOST if isinstance(error, AnswerLostError) else Written.UNKNOWN


def _settled(written: Written) -> bool:
    """Whether it is not to be sent once more: it was taken, or may have been by a call that left whole."""
    return written.taken or written is Written.LOST


def _was_called_before(error: Exception) -> bool:
    """Whether this very call may have been carried out at an earlier try, of which no answer came."""
    response = error.response if isinstance(error, SlackApiError) else None
    return not isinstance(response, SlackResponse) or bool(response.req_args.get(AGAIN))


def _refused_file(error: SlackError) -> SlackRefusedError:
    return SlackRefusedError(f"Slack did not take the file ({error.why}). {_sentence(error.advice)}")


def _written(error: SlackError) -> Written:
    """Say what is known of a message at which a call failed."""
    if error.final:
        return Written.REFUSED if error.kind is Kind.CONTENT else Written.GONE
    # Slack may have carried out what it answers with an error of its own, or not at all.
    failed = not error.reached or error.word in FAILED or error.word.startswith("status_5")
    return Written.UNKNOWN if failed else Written.REFUSED


def _versions(message: Message) -> Iterator[_Blocks]:
    """The blocks as meant, then without newer blocks, then none: some text always gets through.

    None is an empty list: a rewrite that says nothing of blocks was seen to leave the old ones, with their buttons.
    """
    yield message.payload()
    fallback = message.fallback_payload()
    if fallback is not None:
        yield fallback
    yield []


def _shows_all(answer: SlackResponse, view: Mapping[str, Any]) -> bool:
    """Whether Slack's answer has every kind of block that was published: a table in a Home tab was seen to vanish."""
    shown = answer.get("view") or view
    return {block["type"] for block in view["blocks"]} <= {block["type"] for block in shown["blocks"]}


def _word_of(body: object) -> str:
    """Return the error that a response URL answers with, as JSON or as it stands; '' for none."""
    text = str(body).strip()
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
        if isinstance(answer, dict):
            return str(answer.get("error") or "") if answer.get("ok") is False else ""
    return "" if text in ("", "ok") else text[:100]


def _sentence(advice: str) -> str:
    return f"{advice[:1].upper()}{advice[1:]}."
