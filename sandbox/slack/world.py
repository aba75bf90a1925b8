"""Who and what there is in the sandbox's workspace: team, people, channels, the app and its tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A person of the workspace."""

    id: str
    name: str
    title: str
    color: str
    is_guest: bool = False
    is_stranger: bool = False
    deleted: bool = False

    @property
    def username(self) -> str:
        """The short name Slack still sends in some payloads."""
        return self.name.split()[0].lower()


@dataclass(frozen=True, slots=True)
class Channel:
    """A conversation; `members` are people's ids, the bot is told apart by `has_bot`."""

    id: str
    name: str
    members: tuple[str, ...]
    is_private: bool = False
    has_bot: bool = True
    is_direct: bool = False  # the bot's direct message with one person


@dataclass(frozen=True, slots=True)
class Bot:
    """The installed app and its bot user."""

    app_id: str = "A0SESSIONBOT"
    bot_id: str = "B0SESSIONBOT"
    user_id: str = "U0SESSIONBOT"
    name: str = "session-bot"


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command as the app's manifest declares it."""

    command: str
    description: str = ""
    usage_hint: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """One workspace with one app installed; `scopes` are those granted to the bot token."""

    team_id: str
    team_name: str
    team_domain: str
    people: tuple[Member, ...]
    channels: tuple[Channel, ...]
    groups: dict[str, tuple[str, ...]]
    bot: Bot = Bot()
    bot_token: str = "xoxb-sandbox-bot"  # noqa: S105 - opens nothing but this sandbox
    app_token: str = "xapp-sandbox-app"  # noqa: S105 - same
    signing_secret: str = "sandbox-signing-secret"  # noqa: S105 - same
    scopes: tuple[str, ...] = (
        "commands",
        "chat:write",
        "usergroups:read",
        "users:read",
        "channels:read",
        "groups:read",
        "im:write",
        "files:write",
    )

    def person(self, user_id: str) -> Member | None:
        """Look a person up; None for ids nobody has."""
        return next((person for person in self.people if person.id == user_id), None)

    def channel(self, channel_id: str) -> Channel | None:
        """Look a channel up; None for ids no channel has."""
        return next((channel for channel in self.channels if channel.id == channel_id), None)


DEMO_WORLD = World(
    team_id="T01DEMO",
    team_name="OceanBase on-call",
    team_domain="oceanbase-on-call",
    people=(
        Member("U01ALICE", "Alice Ng", "on-call engineer", "#2563a8"),
        Member("U02BOB", "Bob Ortiz", "DBA", "#8a4b12"),
        Member("U03GUS", "Gus Weber", "guest without rights", "#5b6470", is_guest=True),
    ),
    channels=(
        Channel("C01INC", "incident", ("U01ALICE", "U02BOB", "U03GUS")),
        Channel("C02DBA", "dba", ("U01ALICE", "U02BOB"), is_private=True),
        Channel("C03GENERAL", "general", ("U01ALICE", "U02BOB", "U03GUS"), has_bot=False),
    ),
    groups={"S0DBATEAM": ("U02BOB",)},
)
