"""What Slack says of people, for rules that name everybody or a user group. What it does not say is not known."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from slack_sdk import WebClient
from slack_sdk.web import SlackResponse

from bot.access import Person
from bot.errors import PersonUnknownError
from bot.slack.answers import Answers, Unanswered, WaitsFor
from bot.slack.user_groups import UserGroups


@dataclass(frozen=True, slots=True)
class _Profile:
    """What Slack says of somebody."""

    name: str
    full: bool = False  # neither a guest nor a bot, a stranger or deactivated
    ours: bool | None = None  # of the bot's workspace or organisation; None where Slack says neither


def home_of(answer: Mapping[str, Any] | SlackResponse) -> tuple[str, str]:
    """Return the ids of the workspace and the organisation that the app is installed in, as ``auth.test`` answers.

    The workspace is '' where it is the whole organisation: `team_id` is then its id, null or left out (docs/slack.md
    5.1). The organisation is '' where the workspace belongs to none.
    """
    team, enterprise = str(answer.get("team_id") or ""), str(answer.get("enterprise_id") or "")
    return "" if answer.get("is_enterprise_install") or team == enterprise else team, enterprise


def is_ours(user: Mapping[str, Any], team: str, enterprise: str) -> bool | None:
    """Whether a user object is of that workspace or organisation, None where it does not say (docs/slack.md 5.1)."""
    theirs = (user.get("enterprise_user") or {}).get("enterprise_id")
    if theirs and enterprise:
        return bool(theirs == enterprise)
    if user.get("team_id"):
        return user["team_id"] in (team, enterprise)
    return False if theirs else None


class SlackDirectory:
    """Asks Slack and remembers each answer for a minute; where it gives no new one, the last counts for ten.

    Somebody of whom Slack never said anything is not known: neither a member nor none. ``team`` is the workspace that
    the app is installed in, '' where it is installed in a whole organisation; ``enterprise`` is the organisation, ''
    where the workspace belongs to none. Who belongs to the bot is decided as docs/slack.md 5.1 says.
    """

    def __init__(
        self,
        client: WebClient,
        team: str,
        waits_for: WaitsFor = lambda _what: contextlib.nullcontext(),
        monotonic: Callable[[], float] = time.monotonic,
        *,
        enterprise: str = "",
    ) -> None:
        self._client = client
        self._team = team
        self._enterprise = enterprise
        self._profiles = Answers(self._ask_profile, lambda user: _Profile(user, ours=False), waits_for, monotonic)
        groups = UserGroups(client, org_wide=not team)
        self._groups = Answers(groups.members, lambda _group: frozenset[str](), waits_for, monotonic)

    def is_internal(self, person: Person) -> bool:
        """Whether somebody belongs to the bot's workspace, or to its organisation: no external member.

        Where the payload does not settle that, Slack is asked; raises ``PersonUnknownError`` where it does not say.
        """
        if person.team:
            if person.team in (self._team, self._enterprise):
                return True
            if not self._enterprise:
                return False
        ours = self._profile(person).ours
        if ours is None:
            raise PersonUnknownError("who you are", "its answer was incomplete", "try again")
        return ours

    def is_full_member(self, person: Person) -> bool:
        """Whether somebody internal is a full member: no guest, bot or deactivated person.

        Raises ``PersonUnknownError`` where Slack does not say.
        """
        if not self.is_internal(person):
            return False
        profile = self._profile(person)
        return profile.full and profile.ours is not False

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        """Whether somebody internal is in that user group; raises ``PersonUnknownError``."""
        return self.is_internal(person) and person.id in self.members(group, ahead)

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        """Return the ids of those who are in that user group; raises ``PersonUnknownError``.

        Where Slack has to be asked, it is asked for those of ``ahead`` at once, within its limits.
        """
        self._groups.ask_ahead(group, ahead)
        try:
            return self._groups.get(group)
        except Unanswered as error:
            raise PersonUnknownError(f"who is in the user group {group}", error.why, error.advice) from error

    def name_of(self, user: str, ahead: Collection[str] = ()) -> str:
        """What somebody is called, for reading only: names can be changed and taken by others. The id if not known.

        ``ahead``, here and below: as for ``members``, other people.
        """
        self._profiles.ask_ahead(user, ahead)
        try:
            return self._profiles.get(user, wait=False).name
        except Unanswered:
            return user

    def called(self, user: str, name: str, ahead: Collection[str] = ()) -> bool:
        """Whether somebody's name contains that one, in any case; raises ``PersonUnknownError``."""
        self._profiles.ask_ahead(user, ahead)
        try:
            return name.casefold() in self._profiles.get(user).name.casefold()
        except Unanswered as error:
            raise PersonUnknownError("what people are called", error.why, error.advice) from error

    def _profile(self, person: Person) -> _Profile:
        try:
            return self._profiles.get(person.id)
        except Unanswered as error:
            raise PersonUnknownError("who you are", error.why, error.advice) from error

    def _ask_profile(self, user: str) -> _Profile:
        found = self._client.users_info(user=user).get("user")
        if not found:
            raise KeyError("user")
        shown = found.get("profile") or {}
        names = (shown.get("display_name"), found.get("real_name"), found.get("name"))
        barred = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger")
        return _Profile(
            name=next((str(name) for name in names if name), user),
            full=not any(found.get(flag) for flag in barred),
            ours=is_ours(found, self._team, self._enterprise),
        )
