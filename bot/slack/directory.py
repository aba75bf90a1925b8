"""What Slack says of people, for rules that name everybody or a user group. Fails closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from bot.access import Person

CACHE_SECONDS = 60.0

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class SlackDirectory:
    """Asks Slack and remembers the answer for a minute; no answer counts as no."""

    def __init__(self, client: WebClient, team: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._team = team
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._members: dict[str, tuple[float, bool]] = {}
        self._names: dict[str, tuple[float, str]] = {}
        self._groups: dict[str, tuple[float, frozenset[str]]] = {}

    def is_full_member(self, person: Person) -> bool:
        """Whether this is a full member of this workspace: no guest, bot, stranger or deactivated person."""
        if person.team != self._team:
            return False
        return self._cached(self._members, person.id, lambda: self._ask_member(person.id), default=False)

    def is_in_group(self, person: Person, group: str) -> bool:
        """Whether the person is in that user group of this workspace."""
        return person.team == self._team and person.id in self.members(group)

    def members(self, group: str) -> frozenset[str]:
        """Return the ids of those who are in that user group of this workspace; nobody whenever Slack does not say."""
        return self._cached(self._groups, group, lambda: self._ask_group(group), default=frozenset())

    def name_of(self, user: str) -> str:
        """What somebody is called, for reading only: names can be changed and taken by others. The id if unknown."""
        return self._cached(self._names, user, lambda: self._ask_name(user), default=user)

    def _cached(self, cache: dict[str, tuple[float, _T]], key: str, ask: Callable[[], _T], default: _T) -> _T:
        with self._lock:
            known = cache.get(key)
        if known is not None and self._monotonic() - known[0] < CACHE_SECONDS:
            return known[1]
        try:
            answer = ask()
        except (SlackClientError, OSError, KeyError) as error:
            log.warning("people not known", key=key, error=type(error).__name__)
            return default  # not remembered: the next command asks again
        with self._lock:
            cache[key] = (self._monotonic(), answer)
        return answer

    def _ask_member(self, user: str) -> bool:
        found = self._client.users_info(user=user).get("user")
        if not found:
            raise KeyError("user")
        barred = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger")
        return not any(found.get(flag) for flag in barred) and found.get("team_id", self._team) == self._team

    def _ask_name(self, user: str) -> str:
        found = self._client.users_info(user=user)["user"]
        profile = found.get("profile") or {}
        names = (profile.get("display_name"), found.get("real_name"), found.get("name"))
        return next((str(name) for name in names if name), user)

    def _ask_group(self, group: str) -> frozenset[str]:
        members = self._client.usergroups_users_list(usergroup=group).get("users")
        if members is None:
            raise KeyError("users")
        return frozenset(members)
