"""Sends messages to where a payload came from, with a way out when Slack refuses one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import structlog
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse

from bot.closing.model import CardPlace
from bot.slack.client import Client
from bot.slack.connections import AnswerLostError
from bot.slack.delivery.card_writer import Written
from bot.slack.delivery.meanwhile import meanwhile
from bot.slack.delivery.message import HomeTab, Message, sentence
from bot.slack.delivery.outbox import Outbox
from bot.slack.delivery.retries import FAILED, may_retry
from bot.slack.telemetry import NoTelemetry, Telemetry

log = structlog.get_logger(__name__)

_Kind = Literal["in_channel", "ephemeral"]

_Blocks = list[dict[str, Any]]
_Way = Callable[[], Written]

_LOST = (
    "The connection to Slack broke before Slack said whether it took an answer to you. If the answer is not here, "
    "ask once more."
)

# How Slack says that it does not take blocks: in answers of chat.* and of response URLs, and for views.
_BLOCKS_REFUSED = ("invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_blocks_too_long")
_VIEW_REFUSED = (*_BLOCKS_REFUSED, "invalid_arguments", "view_too_large")
# Names and addresses in a text become no mentions and no links; chat.update looks for them unless it is told not to.
_LITERAL: Mapping[str, Any] = {"parse": "none", "link_names": False}
_NO_PREVIEWS: Mapping[str, Any] = {"unfurl_links": False, "unfurl_media": False}


class Reply:
    """Answers one command or press. No method raises: what cannot be shown is logged and returned as False.

    An answer that Slack does not take now goes to the ``outbox``, if there is one, and is shown later.
    """

    def __init__(
        self,
        client: Client,
        response_url: str,
        channel: str,
        user: str,
        *,
        telemetry: Telemetry | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self._client = client
        self._telemetry = telemetry or NoTelemetry()
        self._outbox = outbox
        self._channel = channel
        self._user = user
        self.response_url = response_url
        self.answering = False
        """Whether an answer is on its way, which may wait for Slack."""

    def public(self, message: Message) -> bool:
        """Post a message that the whole channel sees."""
        return self._kept("answer", lambda: self._said(message, "in_channel"), lambda: self._post(message))

    def private(self, message: Message) -> bool:
        """Show a message to the person alone."""
        return self._kept("private answer", *self._privately(message))

    def replace(self, message: Message, *, ephemeral: bool = False, ts: str = "") -> bool:
        """Rewrite the message that was pressed on."""
        kind: _Kind = "ephemeral" if ephemeral else "in_channel"
        if self._send(message, kind, replace=True) is Written.TAKEN:
            return True
        return bool(ts) and not ephemeral and self.update(CardPlace(self._channel, ts), message).taken

    def rewrite(self, message: Message) -> Written:
        """Rewrite the message that was pressed on, and say what is known of it; Slack takes five in half an hour."""
        return self._send(message, "in_channel", replace=True)

    def post_card(self, message: Message, placed: Callable[[CardPlace], object]) -> None:
        """Post a message that must be rewritten later; ``placed`` is told its place, when that is known."""

        def post() -> Written:
            place = _post(self._client, self._channel, message)
            if isinstance(place, Written):
                return place
            placed(place)
            return Written.TAKEN

        self._kept("card", post, lambda: self._said(message, "in_channel"))

    def update(self, place: CardPlace, message: Message) -> Written:
        """Rewrite a message by its place."""
        return update(self._client, place, message)

    def opening_modal(self, trigger_id: str, view: Mapping[str, Any]) -> Callable[[], str | None]:
        """Open a modal while this thread goes on; what is returned waits for its id, as ``open_modal`` returns it."""
        return meanwhile(lambda: self.open_modal(trigger_id, view))

    def open_modal(self, trigger_id: str, view: Mapping[str, Any]) -> str | None:
        """Open a modal and return its id; None when Slack refuses, for example because it took too long."""
        try:
            answer = self._client.views_open(trigger_id=trigger_id, view=dict(view))
        except (SlackClientError, OSError) as error:
            log.warning("modal not opened", error=_reason(error))
            return None
        return str(answer["view"]["id"])

    def update_modal(self, view_id: str, view: Mapping[str, Any]) -> bool:
        """Replace what a modal shows."""
        try:
            self._client.views_update(view_id=view_id, view=dict(view))
        except (SlackClientError, OSError) as error:
            log.warning("modal not updated", error=_reason(error))
            return False
        return True

    def send_file(self, name: str, title: str, text: str, *, kind: str = "sql") -> bool:
        """Send the person alone a text file of a kind of snippet by direct message; False when Slack refuses.

        A file cannot be ephemeral (docs/slack.md 2.3).
        """
        channel = meanwhile(lambda: self._client.direct_message(self._user))
        content = text.encode()
        try:
            place = self._client.files_getUploadURLExternal(filename=name, length=len(content), snippet_type=kind)
            uploaded = self._client.upload(str(place["upload_url"]), content)
            if uploaded.status != 200:
                log.warning("file not sent", status=uploaded.status)
                return False
            files = [{"id": place["file_id"], "title": title}]
            self._client.files_completeUploadExternal(files=files, channel_id=channel())
        except (SlackClientError, OSError) as error:
            log.warning("file not sent", error=_reason(error))
            return False
        return True

    def publish_home(self, tab: HomeTab) -> bool:
        """Fill the person's Home tab, with plainer blocks where Slack refuses one or leaves it out."""
        published = False
        for view in tab.views():
            try:
                answer = self._client.views_publish(user_id=self._user, view=view)
            except SlackApiError as error:
                log.warning("home not published", error=_reason(error))
                if _reason(error) not in _VIEW_REFUSED:
                    return published
            except (SlackClientError, OSError) as error:
                log.warning("home not published", error=_reason(error))
                return published
            else:
                published = True
                if _shows_all(answer, view):
                    return True
        return published

    def _kept(self, what: str, *ways: _Way) -> bool:
        """Send by the first way that Slack takes it; keep what it takes by none."""
        self.answering = self.answering or may_retry()
        written = self._sent(what, ways)
        if not written.taken and written is not Written.LOST and self._outbox is not None and may_retry():
            # Where nothing is tried again, it is old by then.
            self._outbox.keep(what, lambda: self._sent(what, ways) in (Written.TAKEN, Written.LOST))
        return written.taken

    def _sent(self, what: str, ways: Sequence[_Way]) -> Written:
        """Send by the first way that Slack takes it, and by no other where it may have taken it by one."""
        written = Written.REFUSED
        for way in ways:
            written = way()
            if written.taken:
                break
            if written is Written.LOST:
                log.warning("answer may be lost", what=what)
                self._say_lost()
                break
        return written

    def _say_lost(self) -> None:
        """Tell the person that an answer may be missing: sent once more, it might stand there twice."""
        ways = self._privately(sentence(_LOST))
        if may_retry() and not any(way() in (Written.TAKEN, Written.LOST) for way in ways) and self._outbox is not None:
            self._outbox.keep(
                "notice of a lost answer", lambda: any(way() in (Written.TAKEN, Written.LOST) for way in ways)
            )

    def _privately(self, message: Message) -> tuple[_Way, _Way]:
        return lambda: self._said(message, "ephemeral"), lambda: self._post_ephemeral(message)

    def _said(self, message: Message, kind: _Kind) -> Written:
        return self._send(message, kind, replace=False)

    def _send(self, message: Message, kind: _Kind, *, replace: bool) -> Written:
        if not self.response_url:
            return Written.REFUSED
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
            except OSError as error:
                log.warning("response url failed", error=_reason(error))
                self._telemetry.called("response_url", _reason(error), reached=False)
                return _unanswered(error)
            self._telemetry.called("response_url", "" if answer.status == 200 else f"status_{answer.status}")
            if answer.status == 200 and '"ok":false' not in answer.text.replace(" ", ""):
                return Written.TAKEN
            log.warning("response url refused", status=answer.status, answer=answer.text[:200])
            if answer.status >= 500:
                return Written.UNKNOWN
            if not any(code in answer.text for code in _BLOCKS_REFUSED):
                return Written.REFUSED
        return Written.REFUSED

    def _post(self, message: Message) -> Written:
        place = _post(self._client, self._channel, message)
        return place if isinstance(place, Written) else Written.TAKEN

    def _post_ephemeral(self, message: Message) -> Written:
        def post(blocks: _Blocks) -> SlackResponse:
            return self._client.chat_postEphemeral(
                channel=self._channel, user=self._user, text=message.text, blocks=blocks, **_LITERAL
            )

        answer = _deliver(post, message, "private message not posted")
        return answer if isinstance(answer, Written) else Written.TAKEN


def post(client: Client, channel: str, message: Message) -> CardPlace | None:
    """Post a message into a channel that the bot is in; None where Slack does not say that it has."""
    place = _post(client, channel, message)
    return None if isinstance(place, Written) else place


def _post(client: Client, channel: str, message: Message) -> CardPlace | Written:
    def send(blocks: _Blocks) -> SlackResponse:
        return client.chat_postMessage(channel=channel, text=message.text, blocks=blocks, **_LITERAL, **_NO_PREVIEWS)

    answer = _deliver(send, message, "message not posted")
    return answer if isinstance(answer, Written) else CardPlace(str(answer["channel"]), str(answer["ts"]))


def tell(client: Client, person: str, message: Message) -> CardPlace | None:
    """Send somebody a direct message; None where Slack refuses, as for people who have left."""
    try:
        channel = client.direct_message(person)
    except (SlackClientError, OSError) as error:
        log.warning("direct message not opened", error=_reason(error))
        return None
    return post(client, channel, message)


def update(client: Client, place: CardPlace, message: Message) -> Written:
    """Rewrite a message by its place."""

    def rewrite(blocks: _Blocks) -> SlackResponse:
        return client.chat_update(channel=place.channel, ts=place.ts, text=message.text, blocks=blocks, **_LITERAL)

    answer = _deliver(rewrite, message, "message not rewritten")
    return answer if isinstance(answer, Written) else Written.TAKEN


def _deliver(call: Callable[[_Blocks], SlackResponse], message: Message, failure: str) -> SlackResponse | Written:
    """Call Slack with the blocks as meant, then with plainer ones as long as it refuses the blocks."""
    for blocks in _versions(message):
        try:
            return call(blocks)
        except SlackApiError as error:
            if _reason(error) not in _BLOCKS_REFUSED:
                log.warning(failure, error=_reason(error))
                # Slack may have carried out what it answers with an error of its own.
                return Written.UNKNOWN if _failed(error) else Written.REFUSED
        except (SlackClientError, OSError) as error:
            log.warning(failure, error=_reason(error))
            return _unanswered(error)
    return Written.REFUSED


def _unanswered(error: Exception) -> Written:
    return Written.LOST if isinstance(error, AnswerLostError) else Written.UNKNOWN


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


def _failed(error: SlackApiError) -> bool:
    return error.response.status_code >= 500 or str(error.response.get("error")) in FAILED


def _reason(error: Exception) -> str:
    """Slack's error code or the kind of failure; never a token or a URL."""
    if isinstance(error, SlackApiError):
        return str(error.response.get("error"))[:100]  # of a page that is no answer of Slack's, its beginning
    return type(error).__name__
