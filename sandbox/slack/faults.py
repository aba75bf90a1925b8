"""What can be made to go wrong in the sandbox: switches that tests and the demo may turn at any time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sandbox.slack.delivery import ACK_WITHIN


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure to answer a Web API method with; `response_url` is a method's name here too."""

    method: str
    status: int = 200
    error: str = "internal_error"
    retry_after: int | None = None
    carried_out: bool = False  # whether Slack does what was asked all the same, so that only its answer is lost


class Faults:
    """Thread-safe switches; everything is off until a test turns it on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lose_acks = 0
        self._failures: list[Failure] = []
        self._illness: tuple[tuple[Failure, ...], float, frozenset[str] | None] = ((), 0.0, None)
        self._delays: dict[str, tuple[float, int]] = {}
        self._random = random.Random(0)  # noqa: S311  # no secret is made of it
        self._drop: Callable[[str, bool], None] | None = None
        self._say: Callable[[str], None] | None = None
        self.ack_within = ACK_WITHIN
        """How long Slack waits for an acknowledgement, in seconds."""
        self.deliver_twice = False
        """Every payload goes out twice, as Slack at times does."""
        self.copies_to = ""
        """Where the second one goes in HTTP mode: another replica of the app. '' is where the first one goes."""
        self.refuse_blocks: set[str] = set()
        """Block types answered with `invalid_blocks`, as in a workspace that has not got them yet."""
        self.home_drops: set[str] = set()
        """Block types that a Home tab leaves out without a word, as was seen of tables."""
        self.closed_channels: dict[str, str] = {}
        """Channels in which the app can write nothing any more, with what Slack answers: `is_archived` and the like."""
        self.unknown_methods: set[str] = set()
        """Methods answered with `unknown_method`."""
        self.greeting = ""
        """The reason of `disconnect` that greets each new Socket Mode connection, in place of a hello."""
        self.withholds_hello = False
        """Greet no new Socket Mode connection."""
        self.sockets_refused: int | None = None
        """The HTTP status, with a page, that each new Socket Mode connection is refused with."""
        self.sockets_hang = False
        """Leave the handshake of each new Socket Mode connection unanswered, for as long as this is so."""
        self.omit_optional_fields = False
        """Leave out of payloads and answers what Slack does not promise."""

    @property
    def lose_acks(self) -> int:
        """How many of the next acknowledgements will be lost on their way to Slack."""
        with self._lock:
            return self._lose_acks

    @lose_acks.setter
    def lose_acks(self, count: int) -> None:
        with self._lock:
            self._lose_acks = count

    def loses_ack(self) -> bool:
        """Say whether this acknowledgement is to be lost, and count it."""
        with self._lock:
            if self._lose_acks == 0:
                return False
            self._lose_acks -= 1
            return True

    def fail_next(
        self,
        method: str,
        status: int = 200,
        error: str = "internal_error",
        retry_after: int | None = None,
        *,
        carried_out: bool = False,
    ) -> None:
        """Answer the next call of this method with a failure; several wait in line."""
        with self._lock:
            self._failures.append(Failure(method, status, error, retry_after, carried_out))

    def fall_ill(self, *failures: Failure, share: float, seed: int = 0, methods: Collection[str] | None = None) -> None:
        """Answer that share of all calls with one of these failures, until `recover`.

        It is any method and response URL unless `methods` names some; the failures' own methods do not matter.
        """
        with self._lock:
            self._illness = failures, share, None if methods is None else frozenset(methods)
            self._random.seed(seed)

    def carry_out_late(self, method: str, seconds: float, times: int) -> None:
        """Carry out the next calls of this method only after that time, whether anybody waits for it or not."""
        with self._lock:
            self._delays[method] = seconds, times

    def late_calls_left(self, method: str) -> int:
        """How many calls of this method are still to come that will be carried out late."""
        with self._lock:
            return self._delays.get(method, (0.0, 0))[1]

    def takes_delay(self, method: str) -> float:
        """Return after how many seconds this call is to be carried out, and count it."""
        with self._lock:
            seconds, times = self._delays.get(method, (0.0, 0))
            self._delays[method] = seconds, max(0, times - 1)
            return seconds if times else 0.0

    def recover(self) -> None:
        """Answer as Slack should again."""
        with self._lock:
            self._delays.clear()
            self._illness = (), 0.0, None
            self._failures.clear()

    def takes_failure(self, method: str) -> Failure | None:
        """Take the failure that waits for this method, if one does, or one of the illness."""
        with self._lock:
            for failure in self._failures:
                if failure.method == method:
                    self._failures.remove(failure)
                    return failure
            failures, share, methods = self._illness
            if (methods is None or method in methods) and failures and self._random.random() < share:
                return self._random.choice(failures)
        return None

    def drop_connections(self, reason: str = "refresh_requested", *, abruptly: bool = False) -> None:
        """Ask every Socket Mode connection to go, or with `abruptly` cut it without a word."""
        if self._drop is not None:
            self._drop(reason, abruptly)

    def say(self, text: str) -> None:
        """Send this on every Socket Mode connection, whatever it is."""
        if self._say is not None:
            self._say(text)

    def when_dropped(self, drop: Callable[[str, bool], None], say: Callable[[str], None]) -> None:
        """Say who drops the connections and who speaks on them; the server calls this once."""
        self._drop, self._say = drop, say
