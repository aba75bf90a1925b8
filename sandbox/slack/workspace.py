"""The state of the sandbox's workspace: messages, ephemeral messages and open modals."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sandbox.slack.refusals import Json, Refused
from sandbox.slack.world import Channel, World

STACK_LIMIT = 3

Listener = Callable[[Json, Collection[str]], None]


@dataclass(slots=True)
class Message:
    """A line in a channel; with `only_for` it is ephemeral and that person's alone."""

    key: str
    ts: str
    channel: str
    user: str
    text: str
    blocks: list[Json] | None
    time: float
    only_for: str | None = None
    thread_ts: str | None = None
    edited: bool = False
    files: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class View:
    """A modal that a person has open; `body` is what the app sent, its blocks named."""

    id: str
    user: str
    body: Json
    hash: str
    root_id: str
    previous_id: str | None


def named(blocks: list[Json]) -> list[Json]:
    """Give every block without a block_id one of its own, as Slack does."""
    return [_named(copy.deepcopy(block)) for block in blocks]


def _named(block: Json) -> Json:
    block.setdefault("block_id", secrets.token_urlsafe(4))
    for inner in ("child_blocks", *(["elements"] if block["type"] == "carousel" else [])):
        if inner in block:
            block[inner] = named(block[inner])
    return block


class Workspace:
    """Everything people can see. Used on one event loop only; listeners hear of each change."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self.world = world
        self._clock = clock
        self._messages: list[Message] = []
        self._stacks: dict[str, list[View]] = {}
        self._homes: dict[str, View] = {}
        self._directs: dict[str, Channel] = {}
        self._listeners: list[Listener] = []
        self._last_ts = 0

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener with each event and the ids of those who see it; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, event: Json, audience: Collection[str]) -> None:
        """Send an event to the listeners."""
        for listener in list(self._listeners):
            listener(event, audience)

    def _next_ts(self) -> str:
        self._last_ts = max(self._last_ts + 1, int(self._clock() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def audience(self, message: Message) -> Collection[str]:
        """Return the ids of the people who see this message."""
        if message.only_for is not None:
            return (message.only_for,)
        channel = self.channel(message.channel)
        return channel.members if channel else ()

    def channels_of(self, user: str) -> list[Channel]:
        """Return the conversations that a person is in, the bot's direct message among them."""
        return [c for c in (*self.world.channels, *self._directs.values()) if user in c.members]

    def channel(self, channel_id: str) -> Channel | None:
        """Look a conversation up; None for ids that none has."""
        direct = (c for c in self._directs.values() if c.id == channel_id)
        return self.world.channel(channel_id) or next(direct, None)

    def open_direct(self, user: str) -> Channel:
        """Open the bot's direct message with a person, once."""
        if user not in self._directs:
            name = self.world.bot.name
            self._directs[user] = Channel(f"D{user[1:]}", name, (user,), is_private=True, is_direct=True)
        return self._directs[user]

    def post(
        self,
        channel: str,
        user: str,
        text: str,
        blocks: list[Json] | None = None,
        *,
        only_for: str | None = None,
        thread_ts: str | None = None,
        files: list[Json] | None = None,
    ) -> Message:
        """Put a new message into a channel."""
        ts = self._next_ts()
        key = f"ephemeral-{ts}" if only_for else ts
        message = Message(
            key,
            ts,
            channel,
            user,
            text,
            named(blocks) if blocks else None,
            self._clock(),
            only_for,
            thread_ts,
            files=files or [],
        )
        self._messages.append(message)
        self._tell_message(message)
        return message

    def change(self, message: Message, text: str, blocks: list[Json] | None, *, edited: bool) -> None:
        """Rewrite a message in place."""
        message.text = text
        message.blocks = named(blocks) if blocks else None
        message.edited = message.edited or edited
        self._tell_message(message)

    def remove(self, message: Message) -> None:
        """Take a message away."""
        self._messages.remove(message)
        event = {"type": "message_deleted", "channel": message.channel, "key": message.key}
        self.tell(event, self.audience(message))

    def clear(self) -> None:
        """Take all messages and modals away; direct messages keep their ids, as everywhere in Slack."""
        for message in list(self._messages):
            self.remove(message)
        self._stacks.clear()
        self._homes.clear()

    def _tell_message(self, message: Message) -> None:
        self.tell({"type": "message", "message": self.shown(message)}, self.audience(message))

    def find(self, channel: str, key: str) -> Message | None:
        """Find a message by its key: the ts of a public one, an ephemeral's own key."""
        return next((m for m in self._messages if m.channel == channel and m.key == key), None)

    def messages_for(self, user: str) -> dict[str, list[Json]]:
        """Return what a person sees, channel by channel, oldest first."""
        seen: dict[str, list[Json]] = {c.id: [] for c in self.channels_of(user)}
        for message in self._messages:
            if message.channel in seen and user in self.audience(message):
                seen[message.channel].append(self.shown(message))
        return seen

    def shown(self, message: Message) -> Json:
        """Return the message as the page gets it."""
        person = self.world.person(message.user)
        channel = self.channel(message.channel)
        return {
            "key": message.key,
            "ts": message.ts,
            "channel": message.channel,
            "user": message.user,
            "name": person.name if person else _machine_name(message.user, self.world),
            "is_bot": person is None,
            "text": message.text,
            "blocks": message.blocks,  # never changed in place: `change` puts new ones
            "ephemeral": message.only_for is not None,
            "edited": message.edited,
            "deleted": False,
            "thread_ts": message.thread_ts,
            "time": message.time,
            "files": message.files,
            # A direct message may be new to the page.
            "conversation": described(channel) if channel is not None and channel.is_direct else None,
        }

    def stack(self, user: str) -> list[View]:
        """Return a person's open modals, the top one last."""
        return list(self._stacks.get(user, []))

    def home(self, user: str) -> View | None:
        """Return what the app shows on a person's Home tab."""
        return self._homes.get(user)

    def publish_home(self, user: str, body: Json) -> View:
        """Show something on a person's Home tab."""
        known = self._homes.get(user)
        view_id = known.id if known else "V" + secrets.token_hex(5).upper()
        self._homes[user] = view = View(view_id, user, _body(body), self._hash(), view_id, None)
        self.tell({"type": "home", "view": shown_home(view)}, (user,))
        return view

    def view(self, view_id: str) -> View | None:
        """Find an open modal or a Home tab by its id."""
        views = [*self._homes.values(), *(v for stack in self._stacks.values() for v in stack)]
        return next((v for v in views if v.id == view_id), None)

    def view_by_external_id(self, external_id: str) -> View | None:
        """Find an open modal by the id that the app chose for it."""
        views = (v for stack in self._stacks.values() for v in stack)
        return next((v for v in views if v.body.get("external_id") == external_id), None)

    def open_view(self, user: str, body: Json, *, onto: View | None = None) -> View:
        """Open a modal, alone or on top of another one."""
        external_id = body.get("external_id")
        if external_id and self.view_by_external_id(external_id):
            raise Refused("duplicate_external_id")
        stack = self._stacks.get(user, []) if onto else []
        if len(stack) >= STACK_LIMIT:
            raise Refused("push_limit_reached")
        view_id = "V" + secrets.token_hex(5).upper()
        root = stack[0].id if stack else view_id
        view = View(view_id, user, _body(body), self._hash(), root, stack[-1].id if stack else None)
        self._stacks[user] = [*stack, view]
        self._tell_views(user)
        return view

    def update_view(self, view: View, body: Json) -> None:
        """Show something else in an open modal."""
        view.body = _body(body)
        view.hash = self._hash()
        self._tell_views(view.user)

    def close_view(self, view: View) -> None:
        """Close a modal and whatever stands on top of it."""
        stack = self._stacks[view.user]
        self._stacks[view.user] = stack[: stack.index(view)]
        self._tell_views(view.user)

    def clear_views(self, user: str) -> None:
        """Close all modals of a person."""
        self._stacks.pop(user, None)
        self._tell_views(user)

    def _hash(self) -> str:
        return f"{int(self._clock())}.{secrets.token_hex(4)}"

    def _tell_views(self, user: str) -> None:
        self.tell({"type": "views", "views": [shown_view(v) for v in self.stack(user)]}, (user,))


def described(channel: Channel) -> Json:
    """Return a conversation as the page gets it."""
    return {
        "id": channel.id,
        "name": channel.name,
        "is_private": channel.is_private,
        "is_direct": channel.is_direct,
        "members": list(channel.members),
    }


def _machine_name(user: str, world: World) -> str:
    return world.bot.name if user == world.bot.user_id else "Slackbot"


def _body(body: Json) -> Json:
    return {**copy.deepcopy(body), "blocks": named(body["blocks"])}


def shown_home(view: View) -> Json:
    """Return the Home tab as the page gets it."""
    return {"id": view.id, "type": "home", "blocks": copy.deepcopy(view.body["blocks"]), "hash": view.hash}


def shown_view(view: View) -> Json:
    """Return the modal as the page gets it: private_metadata stays behind."""
    body = copy.deepcopy(view.body)
    return {
        "id": view.id,
        "type": "modal",
        "title": body["title"],
        "blocks": body["blocks"],
        "submit": body.get("submit"),
        "close": body.get("close"),
        "callback_id": body.get("callback_id", ""),
        "hash": view.hash,
    }
