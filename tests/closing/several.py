"""What tests of requests for several sessions do again and again."""

from __future__ import annotations

from typing import Any

from bot.closing.model import ClosingRequest, Outcome
from bot.closing.targets import Wanted
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, CHANNEL, Desk
from tests.stage import session_id


def ask(desk: Desk, *sessions: int | Wanted, mode: Mode = Mode.SESSION) -> ClosingRequest:
    wanted = [Wanted(one) if isinstance(one, int) else one for one in sessions]
    return desk.requests.ask(ALICE, CHANNEL, "demo", wanted, mode)


def confirm(desk: Desk, request: ClosingRequest, mode: Mode = Mode.SESSION, **more: Any) -> ClosingRequest:
    person = more.pop("person", ALICE)
    return desk.closer.confirm(request.id, person, CHANNEL, mode, lambda *_: None, **more)


def outcomes(request: ClosingRequest) -> list[Outcome | None]:
    return [target.outcome for target in request.targets]


def sleepers(desk: Desk, count: int, **more: Any) -> list[int]:
    return [session_id(desk.connect(**more)) for _ in range(count)]
