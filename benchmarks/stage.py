"""What every part measures on: a server with sessions, and how much of everything to do."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.crowd import Crowd
from sandbox.databases.embedded import EmbeddedServer


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to do."""

    rounds: int
    own_rounds: int
    bursts: tuple[int, ...]
    hung_bursts: tuple[int, ...]
    burst_rounds: int
    closes: int
    sizes: tuple[int, ...]
    size_rounds: int
    hung_sources: int
    hung_commands: int  # for each of them
    commands: int
    starts: int
    oceanbase_sessions: int
    mariadb_sessions: int
    waits_sessions: int  # of which so many wait
    waiters: int
    waits_rounds: int


FULL = Scale(
    rounds=120,
    own_rounds=200,
    bursts=(1, 50, 300),
    hung_bursts=(1, 50, 300),
    burst_rounds=5,
    closes=40,
    sizes=(100, 1_000, 5_000),
    size_rounds=60,
    hung_sources=5,
    hung_commands=100,
    commands=10_000,
    starts=5,
    oceanbase_sessions=1_000,
    mariadb_sessions=5_000,
    waits_sessions=1_000,
    waiters=200,
    waits_rounds=60,
)
QUICK = Scale(
    rounds=5,
    own_rounds=10,
    bursts=(1, 10),
    hung_bursts=(10,),
    burst_rounds=1,
    closes=2,
    sizes=(50, 100),
    size_rounds=5,
    hung_sources=2,
    hung_commands=20,
    commands=160,
    starts=1,
    oceanbase_sessions=100,
    mariadb_sessions=200,
    waits_sessions=60,
    waiters=10,
    waits_rounds=3,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A server with sessions on it."""

    database: EmbeddedServer
    crowd: Crowd
    name: str  # as tables show it

    @property
    def label(self) -> str:
        """The server and how many sessions there are."""
        return f"{self.name}, {len(self.crowd):,} sessions"
