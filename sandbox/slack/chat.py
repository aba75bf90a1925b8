"""The Web API methods that write, change and delete messages."""

from __future__ import annotations

from sandbox.slack.faults import Faults
from sandbox.slack.methods import required
from sandbox.slack.payloads import Payloads
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.rules import check_message
from sandbox.slack.web_api import Method
from sandbox.slack.workspace import Message, Workspace
from sandbox.slack.world import Channel

UPDATE_TEXT_LIMIT = 4000


class ChatMethods:
    """chat.postMessage, chat.postEphemeral, chat.update and chat.delete."""

    def __init__(self, workspace: Workspace, payloads: Payloads, faults: Faults) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._payloads = payloads
        self._faults = faults

    def table(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "chat.postMessage": Method(self.post_message, scope="chat:write"),
            "chat.postEphemeral": Method(self.post_ephemeral, scope="chat:write"),
            "chat.update": Method(self.update, scope="chat:write"),
            "chat.delete": Method(self.delete, scope="chat:write"),
        }

    def _channel(self, arguments: Json) -> Channel:
        channel = self._workspace.channel(str(arguments.get("channel")))
        if channel is None or (channel.is_private and not channel.has_bot):
            raise Refused("channel_not_found")
        if channel.id in self._faults.closed_channels:
            raise Refused(self._faults.closed_channels[channel.id])
        return channel

    def post_message(self, arguments: Json) -> Json:
        """Post into a channel that the bot is in, or with chat:write.public into any public one."""
        channel = self._channel(arguments)
        if not channel.has_bot and "chat:write.public" not in self._world.scopes:
            raise Refused("not_in_channel")
        content = check_message(arguments, self._faults.refuse_blocks)
        thread_ts = arguments.get("thread_ts") or None
        if thread_ts and self._workspace.find(channel.id, thread_ts) is None:
            raise Refused("thread_not_found")
        message = self._workspace.post(
            channel.id, self._world.bot.user_id, content.text, content.blocks, thread_ts=thread_ts
        )
        return self._posted(message)

    def _posted(self, message: Message) -> Json:
        answer: Json = {"channel": message.channel, "ts": message.ts}
        if not self._faults.omit_optional_fields:
            answer["message"] = self._payloads.message(message)
        return answer

    def post_ephemeral(self, arguments: Json) -> Json:
        """Show something to one member of a channel."""
        channel = self._channel(arguments)
        (user,) = required(arguments, "user")
        if not channel.has_bot:
            raise Refused("not_in_channel")
        if user not in channel.members:
            raise Refused("user_not_in_channel")
        content = check_message(arguments, self._faults.refuse_blocks)
        message = self._workspace.post(channel.id, self._world.bot.user_id, content.text, content.blocks, only_for=user)
        return {"message_ts": message.ts}

    def _message(self, arguments: Json, not_own: str) -> Message:
        channel = self._channel(arguments)
        (ts,) = required(arguments, "ts")
        message = self._workspace.find(channel.id, ts)  # an ephemeral's key is not its ts: never found
        if message is None:
            raise Refused("message_not_found")
        if message.user != self._world.bot.user_id:
            raise Refused(not_own)
        return message

    def update(self, arguments: Json) -> Json:
        """Rewrite one of the bot's messages; an empty list removes its blocks.

        What text that says nothing of blocks does to them is contested: Slack's documents have them removed, in live
        workspaces they were seen to stay. Here they stay, since old buttons do more harm than missing ones.
        """
        message = self._message(arguments, "cant_update_message")
        if len(str(arguments.get("text") or "")) > UPDATE_TEXT_LIMIT:
            raise Refused("msg_too_long")
        content = check_message(arguments, self._faults.refuse_blocks)
        blocks = message.blocks if arguments.get("blocks") is None else content.blocks
        # Slack marks a rewritten text as edited, but not a message made of blocks.
        self._workspace.change(message, content.text, blocks, edited=blocks is None)
        return {**self._posted(message), "text": message.text}

    def delete(self, arguments: Json) -> Json:
        """Delete one of the bot's messages."""
        message = self._message(arguments, "cant_delete_message")
        self._workspace.remove(message)
        return {"channel": message.channel, "ts": message.ts}
