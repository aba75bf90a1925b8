"""The Web API methods about the workspace itself: who am I, who are you, where does the socket stand."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.slack.faults import Faults
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.web_api import Method, missing_scope
from sandbox.slack.world import Member, World


def required(arguments: Json, *names: str) -> list[str]:
    """Return the named text arguments; refused as Slack does when one is missing."""
    missing = [name for name in names if not isinstance(arguments.get(name), str) or not arguments[name]]
    if missing:
        raise Refused("invalid_arguments", [f"missing required field: {name}" for name in missing])
    return [arguments[name] for name in names]


class WorkspaceMethods:
    """auth.test, apps.connections.open, users.info, usergroups.users.list and conversations.info."""

    def __init__(self, world: World, base_url: str, open_socket: Callable[[], str] | None, faults: Faults) -> None:
        self._world = world
        self._base_url = base_url
        self._open_socket = open_socket
        self._faults = faults

    def table(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "auth.test": Method(self.auth_test),
            "apps.connections.open": Method(self.connections_open, app_token=True),
            "users.info": Method(self.users_info, scope="users:read"),
            "usergroups.users.list": Method(self.group_members, scope="usergroups:read"),
            "conversations.info": Method(self.conversations_info),
        }

    def auth_test(self, _: Json) -> Json:
        """Say whose token this is."""
        bot = self._world.bot
        return {
            "url": self._base_url + "/",
            "team": self._world.team_name,
            "user": bot.name.lower().replace(" ", ""),
            "team_id": self._world.team_id,
            "user_id": bot.user_id,
            "bot_id": bot.bot_id,
            "is_enterprise_install": False,
        }

    def connections_open(self, _: Json) -> Json:
        """Hand out a WebSocket address that works once."""
        if self._open_socket is None:
            raise Refused("socket_mode_not_enabled")
        return {"url": self._open_socket()}

    def users_info(self, arguments: Json) -> Json:
        """Describe a person, or the bot."""
        (user_id,) = required(arguments, "user")
        bot = self._world.bot
        person = self._world.person(user_id)
        if person is None and user_id == bot.user_id:
            person = Member(bot.user_id, bot.name, "", "#000000")
        if person is None:
            raise Refused("user_not_found")
        user: Json = {
            "id": person.id,
            "team_id": self._world.team_id,
            "deleted": person.deleted,
            "is_restricted": person.is_guest,
            "is_ultra_restricted": False,
            "is_bot": person.id == bot.user_id,
        }
        if person.is_stranger:
            user["is_stranger"] = True
        if not self._faults.omit_optional_fields:
            user |= {
                "name": person.username,
                "real_name": person.name,
                "tz": "Etc/UTC",
                "is_admin": False,
                "is_owner": False,
                "profile": {"real_name": person.name, "display_name": person.name, "title": person.title},
            }
        return {"user": user}

    def group_members(self, arguments: Json) -> Json:
        """List the people of a user group."""
        (group,) = required(arguments, "usergroup")
        if group not in self._world.groups:
            raise Refused("no_such_subteam")
        return {"users": list(self._world.groups[group])}

    def conversations_info(self, arguments: Json) -> Json:
        """Describe a channel; one that is private exists only for its members."""
        (channel_id,) = required(arguments, "channel")
        channel = self._world.channel(channel_id)
        if channel is None or (channel.is_private and not channel.has_bot):
            raise Refused("channel_not_found")
        needed = "groups:read" if channel.is_private else "channels:read"
        if needed not in self._world.scopes:
            raise missing_scope(needed, self._world)
        described: Json = {
            "id": channel.id,
            "name": channel.name,
            "is_channel": not channel.is_private,
            "is_group": False,
            "is_im": False,
            "is_mpim": False,
            "is_private": channel.is_private,
            "is_archived": False,
            "is_shared": False,
            "is_ext_shared": False,
            "is_member": channel.has_bot,
        }
        if not self._faults.omit_optional_fields:
            described |= {"is_general": channel.name == "general", "num_members": len(channel.members)}
        return {"channel": described}
