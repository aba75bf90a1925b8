"""What Slack sends, as typed values: a command, a press, a submission. Tolerates what payloads leave out."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bot.access import Person
from bot.slack.delivery.replies import Reply

Payload = Mapping[str, Any]

RESPONSE_URL = "response_url"  # in the metadata of a modal: where the bot is no member, nothing else reaches the card
_REQUEST = re.compile(r"[\w-]{22}", re.ASCII)  # the id of a closing request, and nothing that people type


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command as typed."""

    name: str
    text: str  # raw, not yet normalized
    person: Person
    channel: str
    trigger_id: str
    reply: Reply
    delivery: str = ""  # the same for every delivery of this command


@dataclass(frozen=True, slots=True)
class Press:
    """A press on a button or a choice in a menu, with all choices made on the same message."""

    action_id: str
    value: str
    chosen: Mapping[str, tuple[str, ...]]  # values of the menus by action id
    person: Person
    channel: str
    message_ts: str  # '' where Slack leaves it out
    ephemeral: bool
    trigger_id: str
    reply: Reply
    delivery: str = ""  # the same for every delivery of this press
    block_id: str = ""  # of the block that the button stands in


@dataclass(frozen=True, slots=True)
class Submission:
    """A modal as submitted. It comes from no message, so that answers go to where ``metadata`` says.

    ``metadata`` is what the modal was opened with: it says where and about what, never who may do what.
    """

    callback_id: str
    metadata: Mapping[str, str]
    values: Mapping[str, str]  # of the text fields by action id
    person: Person
    channel: str
    trigger_id: str
    reply: Reply
    delivery: str = ""  # the same for every delivery of this submission


@dataclass(frozen=True, slots=True)
class Asked:
    """What something will wait for, as people are told, for example "data source prod".

    What is ``closing`` does not wait behind lists.
    """

    what: str
    closing: bool = False


STORE = Asked("the store of requests and records")
EVERY_SOURCE = Asked("all data sources")


def of_source(name: str, *, closing: bool = False) -> Asked:
    """One data source by its name."""
    return Asked(f"data source {name}", closing)


def of_diagnosis(name: str) -> Asked:
    """What explains the sessions of one data source: nobody who lists or closes waits behind it."""
    return Asked(f"a diagnosis of data source {name}")


@dataclass(frozen=True, slots=True)
class HomeOpened:
    """Somebody looks at the app's Home tab; ``empty`` says that nothing has been shown there yet."""

    person: Person
    reply: Reply
    empty: bool = False


HomeHandler = Callable[[HomeOpened], None]
CommandHandler = Callable[[Command], None]
PressHandler = Callable[[Press], None]
CommandAsks = Callable[[Command], Asked | None]  # None where nothing is asked, or it is not known before; raises ours
Once = Callable[[Command], bool]  # whether one replica alone may answer it; never raises
PressAsks = Callable[[Press], Asked | None]  # same
SubmissionHandler = Callable[[Submission], None]
SubmissionCheck = Callable[[Submission], Mapping[str, str]]  # what is wrong, by block id; asks nobody, never raises
AskedBy = Callable[[Command, str], Asked]  # says for what a verb will wait, given the same as it; raises ours
Verb = Callable[[Command, str], None]  # answers ``/sessions VERB …``, given the normalized text after the verb


class Registrar(Protocol):
    """Where commands announce what they answer to.

    ``asks`` says what the handler will wait for: while that hangs, others are not kept waiting. ``once`` is for what
    makes cards, writes to people or changes what the store holds: of several replicas that get the same delivery one
    answers it. That waits for the store, which lists do not.
    """

    def command(
        self, name: str, handler: CommandHandler, *, asks: CommandAsks | None = None, once: Once | None = None
    ) -> None:
        """Answer a slash command."""

    def press(
        self,
        action_id: str,
        handler: PressHandler,
        *,
        shows_progress: bool = False,
        asks: PressAsks | None = None,
        once: bool = False,
    ) -> None:
        """Answer a press on a button or a choice in a menu.

        The presser is told when it takes long, unless the handler ``shows_progress`` itself.
        """

    def submission(self, callback_id: str, check: SubmissionCheck, handler: SubmissionHandler) -> None:
        """Answer a modal that was submitted: at once with what ``check`` finds wrong, else by the handler, once."""

    def home(self, handler: HomeHandler) -> None:
        """Fill the app's Home tab when somebody opens it."""

    def periodically(self, seconds: float, job: Callable[[], None]) -> None:
        """Run a job again and again until the bot stops, pausing for seconds between."""


def delivery_of(payload: Payload) -> str:
    """Name one act of one person, the same however often Slack delivers it: the trigger id, or what stands for it.

    Hashed, because a trigger id is a capability while it lives.
    """
    act = next((f"{name} {payload[name]}" for name in ("trigger_id", "event_id") if payload.get(name)), "")
    if not act:
        actions = payload.get("actions") or [{}]
        person = (payload.get("user") or {}).get("id") or payload.get("user_id")
        view = (payload.get("view") or {}).get("hash")
        what = actions[0].get("action_ts") or payload.get("response_url") or view or secrets.token_hex(8)
        act = f"act {what} {person} {actions[0].get('action_id')}"
    return hashlib.sha256(act.encode()).hexdigest()[:32]


def person_of(payload: Payload) -> Person:
    """Who acts: from Slack's own fields, never from names or texts.

    Their team is '' where the payload does not say whose they are: `team` of a press is the app's own workspace, and
    so is the outer `team_id` of an event (docs/slack.md 5.1).
    """
    event = payload.get("event")
    if isinstance(event, Mapping):
        return Person(str(event["user"]), str(event.get("user_team") or ""))
    user = payload.get("user")
    if isinstance(user, Mapping):
        return Person(str(user["id"]), str(user.get("team_id") or ""))
    return Person(str(payload["user_id"]), str(payload.get("team_id") or ""))


def command_of(payload: Payload, reply: Reply) -> Command:
    """Read a slash command's payload."""
    return Command(
        name=str(payload["command"]),
        text=_whole(str(payload.get("text") or "")),
        person=person_of(payload),
        channel=str(payload["channel_id"]),
        trigger_id=str(payload.get("trigger_id") or ""),
        reply=reply,
        delivery=delivery_of(payload),
    )


def press_of(payload: Payload, reply: Reply) -> Press:
    """Read a block_actions payload."""
    action = payload["actions"][0]
    container = payload.get("container") or {}
    return Press(
        action_id=str(action["action_id"]),
        value=str(action.get("value") or ""),
        chosen=_chosen(payload),
        person=person_of(payload),
        channel=channel_of(payload),
        message_ts=str(container.get("message_ts") or (payload.get("message") or {}).get("ts") or ""),
        ephemeral=bool(container.get("is_ephemeral")),
        trigger_id=str(payload.get("trigger_id") or ""),
        reply=reply,
        delivery=delivery_of(payload),
        block_id=str(action.get("block_id") or ""),
    )


def submission_of(payload: Payload, reply: Reply) -> Submission:
    """Read a view_submission payload."""
    view = payload.get("view") or {}
    fields = ((view.get("state") or {}).get("values") or {}).values()
    return Submission(
        callback_id=str(view.get("callback_id") or ""),
        metadata=_metadata(view),
        values={name: _whole(str(field.get("value") or "")) for elements in fields for name, field in elements.items()},
        person=person_of(payload),
        channel=channel_of(payload),
        trigger_id=str(payload.get("trigger_id") or ""),
        reply=reply,
        delivery=delivery_of(payload),
    )


def channel_of(payload: Payload) -> str:
    """The channel a payload comes from; for a modal the one that it was opened for."""
    channel = payload.get("channel")
    if isinstance(channel, Mapping):
        return str(channel.get("id") or "")
    if "view" in payload:
        return _metadata(payload["view"]).get("channel", "")
    return str(payload.get("channel_id") or (payload.get("container") or {}).get("channel_id") or "")


def is_at_home(payload: Payload) -> bool:
    """Whether the person looks at the app's Home tab, which is in no channel and has no response URL."""
    event = payload.get("event") or {}
    return event.get("type") == "app_home_opened" or (payload.get("view") or {}).get("type") == "home"


def request_of(payload: Payload) -> str:
    """The id of the closing request that a press or a dialog of a card is about, '' for anything else."""
    action = (payload.get("actions") or [{}])[0]
    if str(action.get("action_id")).startswith("closing."):
        named = str(action.get("value") or "").partition("|")[0]
    else:
        named = _metadata(payload.get("view") or {}).get("request", "")
    return named if _REQUEST.fullmatch(named) else ""


def response_url_of(payload: Payload) -> str:
    """Where answers go; for a modal the address of the press that opened it, '' where there is none."""
    given = payload.get("response_url")
    return str(given or _metadata(payload.get("view") or {}).get(RESPONSE_URL) or "")


def _whole(text: str) -> str:
    """Half a character would fail in the store and in the database's driver."""
    return text.encode("utf-8", "replace").decode()


def _metadata(view: Payload) -> dict[str, str]:
    """Read what a modal was opened with, a JSON object of texts; nothing where it is anything else."""
    try:
        kept = json.loads(view.get("private_metadata") or "{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}


def _chosen(payload: Payload) -> dict[str, tuple[str, ...]]:
    chosen: dict[str, tuple[str, ...]] = {}
    for elements in ((payload.get("state") or {}).get("values") or {}).values():
        for action_id, element in elements.items():
            one = element.get("selected_option")
            options = [one] if one else element.get("selected_options") or []
            chosen[action_id] = tuple(str(option["value"]) for option in options)
    return chosen
