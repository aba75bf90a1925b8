"""How the data sources are: asked all at once, so that one that hangs holds up nobody but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from bot.sessions.details import Reach

PATIENCE = 7.0  # seconds until an answer is given without those that hang


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """One data source as its login finds it. Where ``problem`` says why it does not answer, the rest is empty."""

    name: str
    problem: str = ""
    milliseconds: float | None = None  # that counting the sessions took
    kind: str = ""  # for example "OceanBase seekdb-v1.3.0.0"
    view: str = ""  # where sessions are read from
    tenant: str | None = None  # that the login belongs to; None where there are no tenants
    sees: Reach | None = None
    closes: Reach | None = None
    total: int | None = None  # sessions that the asker may see
    active: int | None = None
    caveats: tuple[str, ...] = ()


def ask_all(checks: Mapping[str, Callable[[], SourceHealth]], patience: float = PATIENCE) -> list[SourceHealth]:
    """Ask every data source at once; return their answers in the order given, after ``patience`` seconds at most."""
    if not checks:
        return []
    pool = ThreadPoolExecutor(len(checks), thread_name_prefix="health")
    asked = {name: pool.submit(check) for name, check in checks.items()}
    answered, _late = wait(asked.values(), timeout=patience)
    pool.shutdown(wait=False)
    return [
        answer.result()
        if answer in answered
        else SourceHealth(name, f"Data source {name} has not answered within {patience:.0f} s.")
        for name, answer in asked.items()
    ]
