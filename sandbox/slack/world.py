"""Who and what there is in the sandbox's workspace: team, people, channels, the app and its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in the workspace's channels: at home in it, in another one of its organisation, or outside of both."""

    id: str
    name: str
    title: str
    color: str
    is_guest: bool = False
    is_stranger: bool = False
    deleted: bool = False
    team: str = ""  # the workspace that they are at home in; '' is the world's own
    teams: tuple[str, ...] = ()  # those of the organisation that they belong to besides; '' is the world's own
    external: bool = False  # of another organisation, by Slack Connect
    enterprise: str = ""  # that one's id, '' where it is a workspace that belongs to none

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
    team: str = ""  # the workspace that it is in; '' is the world's own
    is_org_shared: bool = False  # between workspaces of the organisation
    is_ext_shared: bool = False  # with other organisations: Slack Connect


@dataclass(frozen=True, slots=True)
class Team:
    """Another workspace of the organisation."""

    id: str
    name: str
    domain: str
    has_app: bool = False  # the app was added to it, which takes an app of the whole organisation
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enterprise:
    """The organisation that the world's own workspace belongs to."""

    id: str
    name: str
    others: tuple[Team, ...] = ()
    org_wide: bool = False  # the app is installed in the organisation, not in the world's own workspace alone


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
    enterprise: Enterprise | None = None

    @property
    def org_wide(self) -> bool:
        """Whether the app is installed in a whole organisation."""
        return self.enterprise is not None and self.enterprise.org_wide

    @property
    def workspaces(self) -> tuple[Team, ...]:
        """The workspaces that the app is in."""
        own = Team(self.team_id, self.team_name, self.team_domain, has_app=True, groups=self.groups)
        others = self.enterprise.others if self.enterprise is not None and self.org_wide else ()
        return (own, *(one for one in others if one.has_app))

    def home(self, person: Member) -> str:
        """The id of the workspace that somebody is at home in."""
        return person.team or self.team_id

    def place(self, person: Member, channel: Channel) -> str:
        """The id of the workspace that somebody is in when they type there: in a shared channel their own."""
        if channel.is_direct or channel.is_org_shared or channel.is_ext_shared:
            return self.home(person)
        return channel.team or self.team_id

    def offers_commands(self, person: Member, channel: Channel) -> bool:
        """Whether somebody can type the app's commands there: in a workspace that the app is in."""
        return not person.external and self.place(person, channel) in {one.id for one in self.workspaces}

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
