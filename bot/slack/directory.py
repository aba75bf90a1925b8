"""What Slack says of people, for rules that name everybody or a user group. What it does not say is not known."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from cachetools import TTLCache
from slack_sdk import WebClient

from bot.access import Person
from bot.errors import PersonUnknownError
from bot.slack.slack_errors import CALL_ERRORS, slack_error
from bot.slack.user_groups import UserGroups

CACHE_SECONDS = 60.0  # for so long an answer is not asked for again
LAST_ANSWER_SECONDS = 600.0  # for so long the last answer counts where Slack gives no new one
DEADLINE = 3.0  # seconds that anybody waits for Slack here
AT_MOST = 10_000  # people or groups that are remembered at a time
_AT_ONCE = 16  # questions that wait for Slack; each has a thread
_A_MOMENT = 0.5  # seconds in which Slack answers when it is well
_LONGEST_PAUSE = 60.0  # seconds, however long Slack asks to wait

# Words by which Slack says that there is no such person or group: an answer, and no failure to give one.
_NOBODY = ("user_not_found", "users_not_found", "user_not_visible", "no_such_subteam")

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

WaitsFor = Callable[[str], AbstractContextManager[None]]  # told for what a thread waits, for those who wait with it


@dataclass(frozen=True, slots=True)
class _Profile:
    """What Slack says of somebody; `team` and `enterprise` are '' where it does not say."""

    name: str
    full: bool = False  # neither a guest nor a bot, a stranger or deactivated
    team: str = ""
    enterprise: str = ""


class _Unanswered(Exception):  # noqa: N818  # reads as a sentence where it is raised
    """Slack did not answer a question; ``why`` and ``advice`` are for people, ``word`` is for logs."""

    def __init__(self, word: str, why: str, advice: str, wait: float | None = None) -> None:
        super().__init__(word)
        self.word, self.why, self.advice, self.wait = word, why, advice, wait


class _Asked(Future[_T]):
    """A question that waits for Slack."""

    def __init__(self, since: float) -> None:
        super().__init__()
        self.since = since


class _Answers(Generic[_T]):
    """The answers to one kind of question, by what it is about: asked once, whoever waits for it."""

    def __init__(
        self,
        ask: Callable[[str], _T],
        nobody: Callable[[str], _T],
        waits_for: WaitsFor,
        monotonic: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._waits_for = waits_for
        self._nobody = nobody  # what is known of somebody who does not exist
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: TTLCache[str, tuple[_T, float]] = TTLCache(AT_MOST, LAST_ANSWER_SECONDS, monotonic)
        self._asked: dict[str, _Asked[_T]] = {}
        self._failed: tuple[float, _Unanswered] = -_A_MOMENT, _Unanswered("", "", "")  # when it last did, and why

    def __len__(self) -> int:
        with self._lock:
            return len(self._known)

    def get(self, key: str, *, wait: bool = True) -> _T:
        """Return an answer that is new enough, else ask; where that fails, the last one. Raises ``_Unanswered``.

        Without ``wait`` nothing is asked while Slack hangs or has just failed.
        """
        known = self._known_of(key)
        if known is not None and self._monotonic() - known[1] <= CACHE_SECONDS:
            return known[0]
        try:
            return self._asked_now(key, wait=wait)
        except _Unanswered as error:
            known = self._known_of(key)
            if known is None:
                log.warning("people not known", key=key, error=error.word)
                raise
            old = round(self._monotonic() - known[1])
            log.warning("people not known now, the last answer counts", key=key, error=error.word, seconds_old=old)
            return known[0]

    def _known_of(self, key: str) -> tuple[_T, float] | None:
        with self._lock:
            return self._known.get(key)

    def _asked_now(self, key: str, *, wait: bool) -> _T:
        with self._lock:
            now = time.monotonic()
            self._refuse(now, wait=wait)
            # Whatever hangs already, this question may be answered, but nobody waits for each in turn.
            patience = _A_MOMENT if any(now - one.since >= DEADLINE for one in self._asked.values()) else DEADLINE
            asked = self._asked.get(key)
            if asked is None:
                if len(self._asked) >= _AT_ONCE:
                    raise _Unanswered("busy", "too many questions wait for it", "try again")
                asked = self._asked[key] = _Asked(now)
                # A thread of its own: whoever asks waits no longer than that, whatever Slack does.
                threading.Thread(target=self._run, args=(key, asked), name="people", daemon=True).start()
        try:
            with self._waits_for("Slack"):
                return asked.result(max(0.0, asked.since + patience - now))
        except NotInTimeError:
            raise _Unanswered("no answer", f"no answer within {DEADLINE:.0f} s", "try again") from None

    def _refuse(self, now: float, *, wait: bool) -> None:
        """Ask nothing before Slack wants to be asked again, nor what can wait while it is not well."""
        failed_at, error = self._failed
        left = failed_at + min(error.wait or 0.0, _LONGEST_PAUSE) - now
        if left > 0:
            raise _Unanswered(error.word, f"rate limit, {left:.0f} s", f"try again in {left:.0f} s", error.wait)
        hangs = any(one.since + DEADLINE <= now for one in self._asked.values())
        if not wait and (hangs or now - failed_at < _A_MOMENT):
            raise _Unanswered("not asked", "it has just failed to answer", "try again")

    def _run(self, key: str, asked: _Asked[_T]) -> None:
        try:
            answer = self._answer(key)
        except Exception as error:  # noqa: BLE001  # it is raised for whoever waits
            with self._lock:
                del self._asked[key]
                if isinstance(error, _Unanswered):
                    self._failed = time.monotonic(), error
            asked.set_exception(error)
            return
        with self._lock:
            del self._asked[key]
            self._known[key] = answer, self._monotonic()
        asked.set_result(answer)

    def _answer(self, key: str) -> _T:
        try:
            return self._ask(key)
        except CALL_ERRORS as error:
            what = slack_error(error)
            if what.word in _NOBODY:
                return self._nobody(key)
            raise _Unanswered(what.word, what.why, what.advice, what.wait) from error
        except KeyError as error:
            raise _Unanswered("incomplete answer", "its answer was incomplete", "try again") from error


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
        self._profiles = _Answers(self._ask_profile, _Profile, waits_for, monotonic)
        groups = UserGroups(client, org_wide=not team)
        self._groups = _Answers(groups.members, lambda _group: frozenset[str](), waits_for, monotonic)

    def is_internal(self, person: Person) -> bool:
        """Whether somebody belongs to the bot's workspace, or to its organisation: no external member.

        Where the payload does not settle that, Slack is asked; raises ``PersonUnknownError`` where it does not say.
        """
        if person.team:
            if person.team in (self._team, self._enterprise):
                return True
            if not self._enterprise:
                return False
        return bool(self._is_ours(self._profile(person)))

    def is_full_member(self, person: Person) -> bool:
        """Whether somebody internal is a full member: no guest, bot or deactivated person.

        Raises ``PersonUnknownError`` where Slack does not say.
        """
        if not self.is_internal(person):
            return False
        profile = self._profile(person)
        return profile.full and self._is_ours(profile) is not False

    def is_in_group(self, person: Person, group: str) -> bool:
        """Whether somebody internal is in that user group; raises ``PersonUnknownError``."""
        return self.is_internal(person) and person.id in self.members(group)

    def members(self, group: str) -> frozenset[str]:
        """Return the ids of those who are in that user group; raises ``PersonUnknownError``."""
        try:
            return self._groups.get(group)
        except _Unanswered as error:
            raise PersonUnknownError(f"who is in the user group {group}", error.why, error.advice) from error

    def name_of(self, user: str) -> str:
        """What somebody is called, for reading only: names can be changed and taken by others. The id if not known."""
        try:
            return self._profiles.get(user, wait=False).name
        except _Unanswered:
            return user

    def called(self, user: str, name: str) -> bool:
        """Whether somebody's name contains that one, in any case; raises ``PersonUnknownError``."""
        try:
            return name.casefold() in self._profiles.get(user).name.casefold()
        except _Unanswered as error:
            raise PersonUnknownError("what people are called", error.why, error.advice) from error

    def _profile(self, person: Person) -> _Profile:
        try:
            return self._profiles.get(person.id)
        except _Unanswered as error:
            raise PersonUnknownError("who you are", error.why, error.advice) from error

    def _is_ours(self, profile: _Profile) -> bool | None:
        """Whether Slack says that somebody is of the bot's workspace or organisation; None where it says neither."""
        if profile.enterprise and self._enterprise:
            return profile.enterprise == self._enterprise
        if profile.team:
            return profile.team in (self._team, self._enterprise)
        return False if profile.enterprise else None

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
            team=str(found.get("team_id") or ""),
            enterprise=str((found.get("enterprise_user") or {}).get("enterprise_id") or ""),
        )
