"""What Slack says of people, for rules that name everybody or a user group. Fails closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from cachetools import TTLCache
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from bot.access import Person

CACHE_SECONDS = 60.0
AT_MOST = 10_000  # people or groups that are remembered at a time

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Profile:
    """One of the people of a workspace."""

    name: str
    full_member: bool


class SlackDirectory:
    """Asks Slack and remembers the answer for a minute; no answer counts as no."""

    def __init__(self, client: WebClient, team: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._team = team
        self._lock = threading.Lock()
        self._profiles: TTLCache[str, _Profile] = TTLCache(AT_MOST, CACHE_SECONDS, monotonic)
        self._groups: TTLCache[str, frozenset[str]] = TTLCache(AT_MOST, CACHE_SECONDS, monotonic)

    def is_full_member(self, person: Person) -> bool:
        """Whether this is a full member of this workspace: no guest, bot, stranger or deactivated person."""
        return person.team == self._team and self._profile(person.id).full_member

    def is_in_group(self, person: Person, group: str) -> bool:
        """Whether the person is in that user group of this workspace."""
        return person.team == self._team and person.id in self.members(group)

    def members(self, group: str) -> frozenset[str]:
        """Return the ids of those who are in that user group of this workspace; nobody whenever Slack does not say."""
        return self._cached(self._groups, group, self._ask_group, default=frozenset())

    def name_of(self, user: str) -> str:
        """What somebody is called, for reading only: names can be changed and taken by others. The id if unknown."""
        return self._profile(user).name

    def _profile(self, user: str) -> _Profile:
        return self._cached(self._profiles, user, self._ask_profile, default=_Profile(user, full_member=False))

    def _cached(self, cache: TTLCache[str, _T], key: str, ask: Callable[[str], _T], default: _T) -> _T:
        with self._lock:
            known = cache.get(key)
        if known is not None:
            return known
        try:
            answer = ask(key)
        except (SlackClientError, OSError, KeyError) as error:
            log.warning("people not known", key=key, error=type(error).__name__)
            return default  # not remembered: the next command asks again
        with self._lock:
            cache[key] = answer
        return answer

    def _ask_profile(self, user: str) -> _Profile:
        found = self._client.users_info(user=user).get("user")
        if not found:
            raise KeyError("user")
        shown = found.get("profile") or {}
        names = (shown.get("display_name"), found.get("real_name"), found.get("name"))
        barred = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger")
        full = not any(found.get(flag) for flag in barred) and found.get("team_id", self._team) == self._team
        return _Profile(next((str(name) for name in names if name), user), full)

    def _ask_group(self, group: str) -> frozenset[str]:
        members = self._client.usergroups_users_list(usergroup=group).get("users")
        if members is None:
            raise KeyError("users")
        return frozenset(members)
