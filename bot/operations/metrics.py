"""What /metrics shows, in a registry of its own. The layers below know nothing of it.

docs/monitoring.md lists all of it. Labels have values from fixed lists, and series that alerts go by begin at zero:
one that begins with its first event has no increase to be seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from bot.closing.model import Outcome, TargetOutcome
from bot.errors import (
    AccountLimitError,
    AnsweredElsewhereError,
    BudgetError,
    BusyError,
    ConnectionLostError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    InputError,
    LoginRefusedError,
    NotAllowedError,
    NotSessionOwnerError,
    PrivilegeMissingError,
    RequestError,
    SessionBotError,
    SessionOutOfReachError,
    TargetError,
    UnknownSessionError,
    UnsafeConnectionError,
)
from bot.sessions.pool import PoolUse
from bot.slack.slack_errors import LABELS, Kind, kind_of

ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)  # Slack waits for three seconds
SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)

OTHER = "other"


# What became of a command, press or submission, by what it raised; of several rows that fit the last one counts.
_OUTCOMES: Mapping[type[SessionBotError], str] = {
    SessionBotError: "unavailable",
    InputError: "refused",
    NotAllowedError: "refused",
    TargetError: "refused",
    RequestError: "refused",
    BudgetError: "refused",
    AnsweredElsewhereError: "elsewhere",
}
OUTCOMES = ("done", "refused", "unavailable", "elsewhere", "turned_away", "failed", OTHER)

# Why a visit to a data source failed, in the same way.
_SOURCE_ERRORS: Mapping[type[SessionBotError], str] = {
    BusyError: "busy",
    DataSourceUnreachableError: "unreachable",
    AccountLimitError: "account_limit",
    DataSourceTimeoutError: "timeout",
    ConnectionLostError: "connection_lost",
    LoginRefusedError: "login_refused",
    UnsafeConnectionError: "not_safe",
    PrivilegeMissingError: "privilege_missing",
    UnknownSessionError: "unknown_session",
    NotSessionOwnerError: "not_session_owner",
    SessionOutOfReachError: "out_of_reach",
}
SOURCE_ERRORS = (*_SOURCE_ERRORS.values(), OTHER)

# What the bot calls while it runs, as docs.slack.dev names it.
SLACK_METHODS = (
    "apps.connections.open",
    "auth.teams.list",
    "auth.test",
    "chat.postEphemeral",
    "chat.postMessage",
    "chat.update",
    "conversations.info",
    "conversations.open",
    "files.completeUploadExternal",
    "files.getUploadURLExternal",
    "response_url",
    "usergroups.users.list",
    "users.info",
    "views.open",
    "views.publish",
    "views.push",
    "views.update",
)
SLACK_OUTCOMES = ("ok", *(kind.value for kind in Kind))
STATUSES = ("200", "401")  # of answers to Slack: taken, and a wrong signature


@dataclass(frozen=True, slots=True)
class Standing:
    """How the bot stands, asked whenever somebody looks."""

    connected: Callable[[], bool]
    store_up: Callable[[], bool]
    reload_succeeded: Callable[[], bool]
    read_at: Callable[[], float]  # seconds since the epoch
    acts_waiting: Callable[[], int]
    acts_lost: Callable[[], int]


class Metrics:
    """Counts what it is told, and reads queue and pools when somebody looks. ``proc`` stands in for /proc in tests."""

    def __init__(self, version: str, proc: str = "/proc") -> None:
        # Of each series when it began: that is the start of the process.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client's own are not all typed
        # Not before: errors of all layers are known by now.
        self._outcome_of = {"done": "done", "failed": "failed", "turned away": "turned_away", **_by_name(_OUTCOMES)}
        self._source_error_of = _by_name(_SOURCE_ERRORS)
        self._registry = registry = CollectorRegistry()
        _Process(proc=proc, registry=registry)
        Gauge("session_bot_info", "Which version runs.", ["version"], registry=registry).labels(version).set(1)
        self._seconds = Histogram(
            "session_bot_command_seconds",
            "Commands, presses and submissions, from when a worker takes them.",
            ["what"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._commands = Counter(
            "session_bot_commands",
            "Commands, presses and submissions, by what became of them.",
            ["what", "outcome"],
            registry=registry,
        )
        self._acks = Histogram(
            "session_bot_ack_seconds",
            "From taking a delivery of Slack's to answering it, by HTTP status.",
            ["status"],
            buckets=ACK_BUCKETS,
            registry=registry,
        )
        self._closes = Counter(
            "session_bot_closes",
            "Sessions of confirmed closing requests, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._visits = Histogram(
            "session_bot_data_source_seconds",
            "Visits to a data source: waiting for a connection, and its statements.",
            ["source"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "session_bot_data_source_errors",
            "Visits to a data source that failed, by kind.",
            ["source", "error"],
            registry=registry,
        )
        self._slack = Counter(
            "session_bot_slack_calls",
            "Calls of Slack, by what came of them.",
            ["method", "outcome"],
            registry=registry,
        )
        self._slack_errors = Counter(
            "session_bot_slack_errors",
            "Calls of Slack that failed, by Slack's word or the kind of failure.",
            ["method", "error"],
            registry=registry,
        )
        for status in STATUSES:
            self._acks.labels(status)
        for outcome in Outcome:
            self._closes.labels(outcome.value)
        for method in SLACK_METHODS:
            for came_of_it in SLACK_OUTCOMES:
                self._slack.labels(method, came_of_it)

    def stand(self, standing: Standing) -> None:
        """Show from now on how the bot stands."""
        self._registry.register(_Gauges(standing))

    def read_out(self, waiting: Callable[[], int], pools: Callable[[], Mapping[str, PoolUse]]) -> None:
        """Show the queue and the pools as they are when somebody looks."""
        self._registry.register(_ReadOut(waiting, pools))

    def page(self) -> tuple[str, bytes]:
        """Return the content type and content of /metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def answers(self, what: str) -> None:
        """Something of that name is answered from now on."""
        self._seconds.labels(what)
        for outcome in OUTCOMES:
            self._commands.labels(what, outcome)

    def visits(self, sources: Iterable[str]) -> None:
        """There are these data sources from now on."""
        for source in sources:
            self._visits.labels(source)
            for error in SOURCE_ERRORS:
                self._failures.labels(source, error)

    def acknowledged(self, status: int, seconds: float) -> None:
        """A delivery was answered."""
        self._acks.labels(str(status)).observe(seconds)

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """A command, press or submission was carried out, refused or turned away."""
        self._seconds.labels(what).observe(seconds)
        self._commands.labels(what, self._outcome_of.get(outcome, OTHER)).inc()

    def called(self, method: str, error: str) -> None:
        """Slack was called."""
        method = method if method in SLACK_METHODS else OTHER
        self._slack.labels(method, kind_of(error).value if error else "ok").inc()
        if error:
            self._slack_errors.labels(method, error if error in LABELS else OTHER).inc()

    def visited(self, source: str, seconds: float, error: str) -> None:
        """A data source was asked something."""
        self._visits.labels(source).observe(seconds)
        if error:
            self._failures.labels(source, self._source_error_of.get(error, OTHER)).inc()

    def concluded(self, outcomes: Iterable[TargetOutcome]) -> None:
        """The outcomes of a closing request are on record."""
        for one in outcomes:
            self._closes.labels(one.outcome.value).inc()


def _by_name(words: Mapping[type[SessionBotError], str]) -> dict[str, str]:
    """Return the words by the names of those errors and of all that are of their kind."""
    found: dict[str, str] = {}
    for kind, word in words.items():
        found |= {kind.__name__: word, **_by_name(dict.fromkeys(kind.__subclasses__(), word))}
    return found


class _Process(ProcessCollector):
    """prometheus_client's own, also where /proc shows processes alone, as by systemd's ``ProcSubset=pid``.

    There is no /proc/stat then, and without its time of the boot prometheus_client shows nothing at all.
    """

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class _Gauges(Collector):
    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterable[Metric]:
        standing = self._standing
        yield GaugeMetricFamily(
            "session_bot_connected",
            "Whether Slack can be worked with: 1 where a socket is open, in HTTP mode where Slack answers.",
            float(standing.connected()),
        )
        yield GaugeMetricFamily("session_bot_store_up", "Whether the store can be used.", float(standing.store_up()))
        yield GaugeMetricFamily(
            "session_bot_config_last_reload_successful",
            "Whether the configuration was taken when it was read last, at the start or since.",
            float(standing.reload_succeeded()),
        )
        yield GaugeMetricFamily(
            "session_bot_config_last_reload_success_timestamp_seconds",
            "When a configuration was taken last.",
            standing.read_at(),
        )
        yield GaugeMetricFamily(
            "session_bot_audit_log_waiting",
            "Acts that wait to be written to the audit log.",
            standing.acts_waiting(),
        )
        yield CounterMetricFamily(
            "session_bot_audit_log_lost",
            "Acts that were never written to the audit log; the store has them.",
            standing.acts_lost(),
        )


class _ReadOut(Collector):
    def __init__(self, waiting: Callable[[], int], pools: Callable[[], Mapping[str, PoolUse]]) -> None:
        self._waiting = waiting
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("session_bot_queue_depth", "Deliveries that wait for a worker.", self._waiting())
        used = GaugeMetricFamily("session_bot_pool_in_use", "Connections in use.", labels=["source"])
        size = GaugeMetricFamily("session_bot_pool_size", "Connections that may be open at once.", labels=["source"])
        waiting = GaugeMetricFamily("session_bot_pool_waiting", "Who waits for a connection.", labels=["source"])
        for source, use in self._pools().items():
            used.add_metric([source], use.in_use)
            size.add_metric([source], use.size)
            waiting.add_metric([source], use.waiting)
        yield from (used, size, waiting)
