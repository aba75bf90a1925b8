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
    """auth.test, auth.teams.list, apps.connections.open, users.info, bots.info and the like."""

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
            "bots.info": Method(self.bots_info, scope="users:read"),
            "usergroups.users.list": Method(self.group_members, scope="usergroups:read"),
            "auth.teams.list": Method(self.teams_list),
            "conversations.info": Method(self.conversations_info),
        }

    def auth_test(self, _: Json) -> Json:
        """Say whose token this is.

        What ``team_id`` is for a whole organisation is told in two ways: its own id, or nothing.
        """
        world, enterprise = self._world, self._world.enterprise
        answer: Json = {
            "url": self._base_url + "/",
            "team": world.team_name,
            "user": world.bot.name.lower().replace(" ", ""),
            "team_id": world.team_id,
            "user_id": world.bot.user_id,
            "bot_id": world.bot.bot_id,
            "is_enterprise_install": world.org_wide,
        }
        if enterprise is not None:
            answer["enterprise_id"] = enterprise.id
            if enterprise.org_wide:
                bare = self._faults.omit_optional_fields
                answer |= {"team": enterprise.name, "team_id": None if bare else enterprise.id}
        return answer

    def teams_list(self, arguments: Json) -> Json:
        """List the workspaces that the app is in, page by page."""
        workspaces = self._world.workspaces
        first, limit = int(arguments.get("cursor") or 0), int(arguments.get("limit") or 100)
        following = first + limit
        return {
            "teams": [{"id": one.id, "name": one.name} for one in workspaces[first:following]],
            "response_metadata": {"next_cursor": str(following) if following < len(workspaces) else ""},
        }

    def bots_info(self, arguments: Json) -> Json:
        """Describe a bot; a token of a whole organisation must say of which workspace."""
        bot = self._world.bot
        if self._world.org_wide and not arguments.get("team_id"):
            raise Refused("missing_argument")
        if required(arguments, "bot") != [bot.bot_id]:
            raise Refused("bot_not_found")
        described = {"id": bot.bot_id, "deleted": False, "name": bot.name, "app_id": bot.app_id, "user_id": bot.user_id}
        return {"bot": described}

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
            "team_id": self._world.home(person),
            "deleted": person.deleted,
            "is_restricted": person.is_guest,
            "is_ultra_restricted": False,
            "is_bot": person.id == bot.user_id,
        }
        if person.is_stranger:
            user["is_stranger"] = True
        user |= self._organisation_of(person)
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

    def _organisation_of(self, person: Member) -> Json:
        own = self._world.enterprise
        if (person.external and not person.enterprise) or (own is None and not person.enterprise):
            return {}
        home = self._world.home(person)
        teams = [home, *(team or self._world.team_id for team in person.teams)]
        who: Json = {"id": person.id, "is_admin": False, "is_owner": False, "teams": teams}
        who["enterprise_id"] = person.enterprise or (own.id if own is not None else "")
        who["enterprise_name"] = own.name if own is not None and not person.enterprise else "Another organisation"
        # Seen to be left out for people of an organisation (looker/lookerbot 184).
        return {"enterprise_user": who, **({"team_id": None} if self._faults.omit_optional_fields else {})}

    def group_members(self, arguments: Json) -> Json:
        """List the people of a user group; a token of a whole organisation must say of which workspace."""
        (group,) = required(arguments, "usergroup")
        groups = self._world.groups
        if self._world.org_wide:
            if not arguments.get("team_id"):
                raise Refused("missing_argument")
            found = (one for one in self._world.workspaces if one.id == arguments["team_id"])
            workspace = next(found, None)
            if workspace is None:
                raise Refused("team_access_not_granted")
            groups = workspace.groups
        if group not in groups:
            raise Refused("no_such_subteam")
        return {"users": list(groups[group])}

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
            "is_shared": channel.is_org_shared or channel.is_ext_shared,
            "is_org_shared": channel.is_org_shared,
            "is_ext_shared": channel.is_ext_shared,
            "is_member": channel.has_bot,
        }
        if not self._faults.omit_optional_fields:
            described |= {"is_general": channel.name == "general", "num_members": len(channel.members)}
        return {"channel": described}
