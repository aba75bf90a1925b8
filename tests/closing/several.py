"""What tests of requests for several sessions do again and again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bot.closing.approval import Confirmation
from bot.closing.model import ClosingRequest, Outcome
from bot.closing.store import Store
from bot.closing.store.database import Database
from bot.closing.targets import Wanted
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, CHANNEL, Desk
from tests.support.stage import session_id


class SharedDatabase(Database):
    """Stands for a MySQL-compatible server: other replicas may use it as well, and it has a clock of its own."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.shared = True

    @property
    def now(self) -> sa.ColumnElement[float]:
        return sa.literal(self.clock.seconds, sa.Double)


def shared(desk: Desk) -> Store:
    """Open the desk's store as another replica does."""
    store = Store(SharedDatabase(f"sqlite:///{desk.path}"), clock=desk.clock)
    desk._later.append(store)
    return store


def ask(desk: Desk, *sessions: int | Wanted, mode: Mode = Mode.SESSION) -> ClosingRequest:
    wanted = [Wanted(one) if isinstance(one, int) else one for one in sessions]
    return desk.ask(ALICE, CHANNEL, "demo", wanted, mode)


def confirm(desk: Desk, request: ClosingRequest, mode: Mode = Mode.SESSION, **more: Any) -> ClosingRequest:
    person = more.pop("person", ALICE)
    leave = more.pop("leave", lambda _left: None)
    return desk.closer.confirm(Confirmation(request.id, person, CHANNEL, mode, **more), lambda *_: None, leave)


def outcomes(request: ClosingRequest) -> list[Outcome | None]:
    return [target.outcome for target in request.targets]


def sleepers(desk: Desk, count: int, **more: Any) -> list[int]:
    return [session_id(desk.connect(**more)) for _ in range(count)]
