"""What /metrics shows, in a registry of its own. The layers below know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from bot.closing.model import TargetOutcome
from bot.sessions.pool import PoolUse

ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)  # Slack waits for three seconds
SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)


class Metrics:
    """Counts what it is told, and reads queue and pools when somebody looks."""

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("session_bot_info", "Which version runs.", ["version"], registry=registry).labels(version).set(1)
        self._commands = Histogram(
            "session_bot_command_seconds",
            "Commands, presses and submissions carried out.",
            ["what", "outcome"],
            buckets=SECONDS_BUCKETS,
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
        self._slack = Counter("session_bot_slack_calls", "Calls of Slack that worked.", ["method"], registry=registry)
        self._slack_errors = Counter(
            "session_bot_slack_errors",
            "Calls of Slack that failed, by Slack's code or the kind of failure.",
            ["method", "error"],
            registry=registry,
        )

    def read_out(self, waiting: Callable[[], int], pools: Callable[[], Mapping[str, PoolUse]]) -> None:
        """Show the queue and the pools as they are when somebody looks."""
        self._registry.register(_ReadOut(waiting, pools))

    def page(self) -> tuple[str, bytes]:
        """Return the content type and content of /metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def acknowledged(self, status: int, seconds: float) -> None:
        """A delivery was answered."""
        self._acks.labels(str(status)).observe(seconds)

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """A command, press or submission was carried out, refused or turned away."""
        self._commands.labels(what, outcome).observe(seconds)

    def called(self, method: str, error: str) -> None:
        """Slack was called."""
        if error:
            self._slack_errors.labels(method, error).inc()
        else:
            self._slack.labels(method).inc()

    def visited(self, source: str, seconds: float, error: str) -> None:
        """A data source was asked something."""
        self._visits.labels(source).observe(seconds)
        if error:
            self._failures.labels(source, error).inc()

    def concluded(self, outcomes: Iterable[TargetOutcome]) -> None:
        """The outcomes of a closing request are on record."""
        for one in outcomes:
            self._closes.labels(one.outcome.value).inc()


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
