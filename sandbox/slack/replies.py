"""Messages that the app sends without the Web API: in acknowledgements and through response URLs."""

from __future__ import annotations

from sandbox.slack.faults import Faults
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.rules import check_message
from sandbox.slack.tickets import ResponseUrl, Tickets
from sandbox.slack.workspace import Message, Workspace


class Replies:
    """Answers to a command or a press, wherever it happened; the bot need not be a member there."""

    def __init__(self, workspace: Workspace, tickets: Tickets, faults: Faults) -> None:
        self._workspace = workspace
        self._tickets = tickets
        self._faults = faults

    def respond(self, path: str, body: Json) -> ResponseUrl:
        """Do what was POSTed to a response URL; the use counts also when the message is refused."""
        url = self._tickets.use(path)
        self._reply(url, body)
        return url

    def answer_command(self, path: str, body: Json) -> None:
        """Show the message that came inside the acknowledgement of a command; it is no use of the URL."""
        url = self._tickets.peek(path)
        if body == {"response_type": "in_channel"}:
            self._publish(url)  # nothing to say, but what was typed is for all to see
        else:
            self._reply(url, body)

    def _reply(self, url: ResponseUrl, body: Json) -> None:
        if body.get("delete_original"):
            self._workspace.remove(self._original(url))
            return
        content = check_message(body, self._faults.refuse_blocks)
        if body.get("replace_original") and url.kind == "actions":
            original = self._original(url)
            self._workspace.change(original, content.text, content.blocks, edited=False)
            return
        bot = self._workspace.world.bot.user_id
        public = body.get("response_type") == "in_channel"
        if public:
            self._publish(url)
        self._workspace.post(
            url.channel,
            bot,
            content.text,
            content.blocks,
            only_for=None if public else url.user,
            thread_ts=body.get("thread_ts") if public else None,
        )

    def _publish(self, url: ResponseUrl) -> None:
        """Show what the person typed to everybody, once, as Slack does with a public answer."""
        if url.typed:
            self._workspace.post(url.channel, url.user, url.typed)
            url.typed = None

    def _original(self, url: ResponseUrl) -> Message:
        """Find the message that was pressed; a command's own line is out of reach."""
        message = self._workspace.find(url.channel, url.message_key) if url.message_key else None
        if message is None:
            raise Refused("message_not_found")
        return message
