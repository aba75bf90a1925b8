"""Questions to Slack whose answers are remembered: asked once, whoever waits, within a deadline."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Generic, TypeVar

import structlog
from cachetools import TTLCache

from bot.slack.slack_errors import CALL_ERRORS, NO_GROUP, NO_PERSON, slack_error

CACHE_SECONDS = 60.0  # for so long an answer is not asked for again
LAST_ANSWER_SECONDS = 600.0  # for so long the last answer counts where Slack gives no new one
DEADLINE = 3.0  # seconds that anybody waits for Slack here
AT_MOST = 10_000  # answers of a kind that are remembered at a time
_AT_ONCE = 16  # questions that wait for Slack; each has a thread
_AHEAD = 8  # questions that are asked together; Slack answers about user groups 20 times a minute (docs/slack.md 4.1)
_UNANSWERED_FOR = 5.0  # seconds for which a delivery does not ask again what it was not told
_A_MOMENT = 0.5  # seconds in which Slack answers when it is well
_LONGEST_PAUSE = 60.0  # seconds, however long Slack asks to wait

log = structlog.get_logger(__name__)

_delivered_at: ContextVar[float] = ContextVar("delivered_at", default=math.inf)

_T = TypeVar("_T")

WaitsFor = Callable[[str], AbstractContextManager[None]]  # told for what a thread waits, for those who wait with it


@contextlib.contextmanager
def for_delivery_of(delivered_at: float) -> Iterator[None]:
    """Say when the delivery came for which things are asked within the block, by ``time.monotonic``.

    It asks for nothing twice that Slack has not answered since: its person waits for each deadline once.
    """
    token = _delivered_at.set(delivered_at)
    try:
        yield
    finally:
        _delivered_at.reset(token)


class Unanswered(Exception):  # noqa: N818  # reads as a sentence where it is raised
    """Slack did not answer a question; ``why`` and ``advice`` are for people, ``word`` is for logs."""

    def __init__(self, word: str, why: str, advice: str, wait: float | None = None) -> None:
        super().__init__(word)
        self.word, self.why, self.advice, self.wait = word, why, advice, wait


class _Asked(Future[_T]):
    """A question that waits for Slack."""

    def __init__(self, since: float) -> None:
        super().__init__()
        self.since = since


class Answers(Generic[_T]):
    """The answers to one kind of question, by what it is about: asked once, whoever waits for it."""

    def __init__(
        self,
        ask: Callable[[str], _T],
        nobody: Callable[[str], _T],
        waits_for: WaitsFor,
        monotonic: Callable[[], float],
        *,
        what: str = "people",
        fresh_for: float = CACHE_SECONDS,
    ) -> None:
        self._ask = ask
        self._waits_for = waits_for
        self._nobody = nobody  # what is known of somebody who does not exist
        self._monotonic = monotonic
        self._what = what  # for the log
        self._fresh_for = fresh_for  # seconds
        self._lock = threading.Lock()
        self._known: TTLCache[str, tuple[_T, float]] = TTLCache(AT_MOST, LAST_ANSWER_SECONDS, monotonic)
        self._unanswered: TTLCache[str, tuple[float, Unanswered]] = TTLCache(AT_MOST, _UNANSWERED_FOR)
        self._asked: dict[str, _Asked[_T]] = {}
        self._failed: tuple[float, Unanswered] = -_A_MOMENT, Unanswered("", "", "")  # when it last did, and why

    def __len__(self) -> int:
        with self._lock:
            return len(self._known)

    def get(self, key: str, *, wait: bool = True) -> _T:
        """Return an answer that is new enough, else ask; where that fails, the last one. Raises ``Unanswered``.

        Without ``wait`` nothing is asked while Slack hangs or has just failed.
        """
        try:
            return self._new_answer(key, wait=wait)
        except Unanswered as error:
            known = self._known_of(key)
            unknown = self._what + " not known"
            if known is None:
                log.warning(unknown, key=key, error=error.word)
                raise
            old = round(self._monotonic() - known[1])
            unknown += " now, the last answer counts"
            log.warning(unknown, key=key, error=error.word, seconds_old=old)
            return known[0]

    def ask_ahead(self, key: str, others: Collection[str]) -> None:
        """Where ``key`` has to be asked, ask for others too that are not known, and wait for none of the answers."""
        with self._lock, contextlib.suppress(Unanswered):
            due = [one for one in dict.fromkeys((key, *others)) if self._fresh(one) is None]
            if key not in due or len(due) == 1:
                return
            self._refuse(time.monotonic(), wait=False)
            for one in due[:_AHEAD]:
                if one not in self._asked and len(self._asked) < _AT_ONCE:
                    self._start(one)

    def _fresh(self, key: str) -> tuple[_T, float] | None:
        known = self._known.get(key)
        return known if known is not None and self._monotonic() - known[1] <= self._fresh_for else None

    def _known_of(self, key: str) -> tuple[_T, float] | None:
        with self._lock:
            return self._known.get(key)

    def _new_answer(self, key: str, *, wait: bool) -> _T:
        with self._lock:
            known = self._fresh(key)
            if known is not None:
                return known[0]
            unanswered = self._unanswered.get(key)
            if unanswered is not None and unanswered[0] >= _delivered_at.get():
                raise unanswered[1]
            now = time.monotonic()
            self._refuse(now, wait=wait)
            # Whatever hangs already, this question may be answered, but nobody waits for each in turn.
            patience = _A_MOMENT if any(now - one.since >= DEADLINE for one in self._asked.values()) else DEADLINE
            asked = self._asked.get(key)
            if asked is None:
                if len(self._asked) >= _AT_ONCE:
                    raise Unanswered("busy", "too many questions wait for it", "try again")
                asked = self._start(key)
        try:
            with self._waits_for("Slack"):
                return asked.result(max(0.0, asked.since + patience - now))
        except NotInTimeError:
            raise Unanswered("no answer", f"no answer within {DEADLINE:.0f} s", "try again") from None

    def _start(self, key: str) -> _Asked[_T]:
        asked = self._asked[key] = _Asked(time.monotonic())
        try:
            # A thread of its own: whoever asks waits no longer than that, whatever Slack does.
            threading.Thread(target=self._run, args=(key, asked), name="ask-slack", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            del self._asked[key]
            raise Unanswered("busy", "too many questions wait for it", "try again") from None
        return asked

    def _refuse(self, now: float, *, wait: bool) -> None:
        """Ask nothing before Slack wants to be asked again, nor what can wait while it is not well."""
        failed_at, error = self._failed
        left = failed_at + min(error.wait or 0.0, _LONGEST_PAUSE) - now
        if left > 0:
            raise Unanswered(error.word, f"rate limit, {left:.0f} s", f"try again in {left:.0f} s", error.wait)
        hangs = any(one.since + DEADLINE <= now for one in self._asked.values())
        if not wait and (hangs or now - failed_at < _A_MOMENT):
            raise Unanswered("not asked", "it has just failed to answer", "try again")

    def _run(self, key: str, asked: _Asked[_T]) -> None:
        try:
            answer = self._answer(key)
        except Exception as error:  # noqa: BLE001  # it is raised for whoever waits
            with self._lock:
                del self._asked[key]
                if isinstance(error, Unanswered):
                    self._failed = self._unanswered[key] = time.monotonic(), error
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
            if what.word in (*NO_PERSON, NO_GROUP):
                return self._nobody(key)
            raise Unanswered(what.word, what.why, what.advice, what.wait) from error
        except KeyError as error:
            raise Unanswered("incomplete answer", "its answer was incomplete", "try again") from error
