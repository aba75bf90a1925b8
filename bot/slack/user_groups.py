"""Who is in a user group: of the bot's workspace, or of whichever workspace of its organisation has that group."""

from __future__ import annotations

import threading

from cachetools import TTLCache
from slack_sdk import WebClient

from bot.slack.slack_errors import CALL_ERRORS, NO_GROUP, slack_error

REMEMBERED = 600.0  # seconds for which it counts which workspaces there are, and that one does not have a group
_PAGE = 200  # workspaces in one answer; Slack gives up to 1,000

# Words by which Slack says that a workspace has no such group, or that the app is not in that workspace any more.
_ELSEWHERE = (NO_GROUP, "team_access_not_granted")


class UserGroups:
    """Asks Slack for the members of user groups.

    A group's id does not say which workspace has it, and a token of a whole organisation must: each workspace that the
    app was added to is asked, until one has the group (docs/slack.md 5.2).
    """

    def __init__(self, client: WebClient, *, org_wide: bool) -> None:
        self._client = client
        self._org_wide = org_wide
        self._lock = threading.Lock()
        self._workspaces: TTLCache[str, tuple[str, ...]] = TTLCache(1, REMEMBERED)
        self._without: TTLCache[tuple[str, str], bool] = TTLCache(10_000, REMEMBERED)  # by group and workspace

    def members(self, group: str) -> frozenset[str]:
        """Return the ids of a group's members.

        Raises slack_sdk's errors (``no_such_subteam`` where a workspace has no such group; nobody is in one that no
        workspace of an organisation has), and ``KeyError`` where an answer is incomplete.
        """
        if not self._org_wide:
            return self._listed(group)
        for workspace in self._all_workspaces():
            with self._lock:
                known = (group, workspace) in self._without
            if known:
                continue
            try:
                return self._listed(group, workspace)
            except CALL_ERRORS as error:
                if slack_error(error).word not in _ELSEWHERE:
                    raise
            with self._lock:
                # Where Slack limits the calls before the group is found, the next search goes on from here.
                self._without[group, workspace] = True
        return frozenset()

    def _listed(self, group: str, workspace: str | None = None) -> frozenset[str]:
        answer = self._client.usergroups_users_list(usergroup=group, team_id=workspace)
        members = answer.get("users")
        if members is None:
            raise KeyError("users")
        return frozenset(members)

    def _all_workspaces(self) -> tuple[str, ...]:
        with self._lock:
            known = self._workspaces.get("")
        if known is not None:
            return known
        found: list[str] = []
        cursor: str | None = None
        while True:
            answer = self._client.auth_teams_list(limit=_PAGE, cursor=cursor)
            teams = answer.get("teams")
            if teams is None:
                raise KeyError("teams")
            found += [str(team["id"]) for team in teams]
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
        with self._lock:
            self._workspaces[""] = tuple(found)
        return tuple(found)
