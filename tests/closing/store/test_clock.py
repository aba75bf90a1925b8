"""No jump of a clock shortens or lengthens a wait, and none lets go of a record."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import ApprovalPolicy, Budget, ClosingRequest, State, Target
from bot.closing.open_attempts import OpenAttempts
from bot.closing.retention import Retention
from bot.closing.store import Store, clock
from bot.closing.store.database import Database
from bot.closing.store.leases import LEASE
from bot.errors import StoreError
from bot.sessions.model import Mode
from tests.sessions.examples import EXAMPLE
from tests.support.stores import store_at

ALICE = Person("U01ALICE", "T1")
DAY = 86_400.0
KEEP = timedelta(days=30)


@dataclass
class Machine:
    """The clocks of a machine: one that anybody may set, and how long it has been up."""

    wall: float
    up: float = 1000.0
    boot: str = "first"

    def passes(self, seconds: float) -> None:
        """Let time go by."""
        self.wall += seconds
        self.up += seconds

    def starts_anew(self) -> None:
        """Boot: nobody knows how long the machine was off, and its clock may say anything."""
        self.boot, self.up = f"{self.boot}+", 5.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine(time.time())
    monkeypatch.setattr(time, "time", lambda: one.wall)
    for module in ("clock", "database"):
        monkeypatch.setattr(f"bot.closing.store.{module}.since_boot", lambda: one.up)
        monkeypatch.setattr(f"bot.closing.store.{module}.boot", lambda: one.boot)
    return one


@pytest.fixture
def opened(tmp_path: Path, machine: Machine) -> Iterator[Callable[[], Store]]:
    """Open the store as each process does."""
    assert machine
    with contextlib.ExitStack() as stores:

        def start() -> Store:
            store = stores.enter_context(store_at(f"sqlite:///{tmp_path / 'store.db'}"))
            store.database.create()
            return store

        yield start


def asked(store: Store) -> ClosingRequest:
    now = store.database.clock()
    request = ClosingRequest(
        id=secrets.token_urlsafe(8),
        source="demo",
        mode=Mode.SESSION,
        requester=ALICE,
        channel="C1",
        reason="",
        approval=ApprovalPolicy.REQUESTER,
        created_at=now,
        expires_at=now + timedelta(minutes=2),
        targets=(Target(1, EXAMPLE),),
    )
    store.requests.add(request)
    return request


def claims(store: Store, request: ClosingRequest) -> bool:
    return store.decisions.claim(request, ALICE, Mode.SESSION, store.database.clock())


@pytest.mark.parametrize("jump", [200 * DAY, -3600.0], ids=["forwards", "back"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_card_expires_after_its_two_minutes_whatever_is_done_to_the_clock(
    opened: Callable[[], Store], machine: Machine, jump: float, restarted: bool
) -> None:
    store = opened()
    early, late = asked(store), asked(store)
    machine.wall += jump
    store = opened() if restarted else store
    store.database.keep_time()
    machine.passes(110)
    store.database.keep_time()
    assert claims(store, early), "its time is not over"
    machine.passes(20)
    store.database.keep_time()
    assert not claims(store, late), "it is now"


def test_while_the_machine_is_off_no_wait_goes_on(opened: Callable[[], Store], machine: Machine) -> None:
    request = asked(opened())
    machine.passes(30)
    machine.starts_anew()
    machine.wall += 200 * DAY
    store = opened()
    assert abs((store.database.clock() - request.created_at).total_seconds()) < 1
    machine.passes(119)
    assert claims(store, request)


def test_once_nobody_waits_a_clock_that_was_set_right_is_believed(
    opened: Callable[[], Store], machine: Machine
) -> None:
    store = opened()
    request = asked(store)
    machine.wall += 3600
    store.database.keep_time()
    assert machine.wall - store.database.clock().timestamp() > 3000, "somebody waits"
    assert store.decisions.cancel(request, ALICE, store.database.clock())
    machine.passes(3601)
    store.database.keep_time()
    assert abs(machine.wall - store.database.clock().timestamp()) < 1
    assert store.requests.find(request.id) is not None


def test_a_long_budget_counts_as_long_as_it_says(opened: Callable[[], Store], machine: Machine) -> None:
    store = opened()
    store.database.quiet_for = timedelta(hours=6)
    assert claims(store, asked(store))
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE closing_requests SET state = 'done'")
    machine.passes(3601)
    machine.wall += 200 * DAY
    store.database.keep_time()
    assert machine.wall - store.database.clock().timestamp() > DAY


def records(store: Store) -> int:
    with store.database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT COUNT(*) FROM audit").scalar_one())


def retention(store: Store, machine: Machine) -> Retention:
    return Retention(store, lambda: machine.wall, lambda: machine.up)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_jump_by_half_a_year_lets_go_of_nothing_until_the_bot_has_run_for_a_day(
    opened: Callable[[], Store], machine: Machine, restarted: bool
) -> None:
    store = opened()
    old = asked(store)
    keeps = retention(store, machine)
    machine.passes(DAY + 1)
    assert keeps.let_go(KEEP) == 0
    machine.wall += 200 * DAY
    if restarted:
        store = opened()
        keeps = retention(store, machine)
    asked(store)  # a new record does not vouch for the time
    for _ in range(23):
        assert keeps.let_go(KEEP) == 0
        machine.passes(3600)
    assert records(store) == 2
    machine.passes(2 * 3600)
    assert keeps.let_go(KEEP) >= 1, "then it is the time that the machine has"
    assert store.requests.find(old.id) is not None, "it was open and is"


def test_what_is_old_by_time_that_was_lived_through_is_let_go(opened: Callable[[], Store], machine: Machine) -> None:
    store = opened()
    asked(store)
    keeps = retention(store, machine)
    machine.passes(29 * DAY)
    assert keeps.let_go(KEEP) == 0
    machine.passes(2 * DAY)
    assert keeps.let_go(KEEP) == 1


def test_a_store_that_was_empty_at_the_start_lets_go_as_well(opened: Callable[[], Store], machine: Machine) -> None:
    store = opened()
    assert store.database.newest_at_start is None
    keeps = retention(store, machine)
    asked(store)
    machine.passes(31 * DAY)
    assert keeps.let_go(KEEP) == 1


def test_a_clock_goes_on_from_what_it_was_told(machine: Machine) -> None:
    one = clock.StoreClock(lambda: None)
    one.tell(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    machine.passes(90)
    machine.wall -= 5000
    assert one() == datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)


def test_where_nothing_names_the_boot_time_goes_on_from_the_last_word(machine: Machine) -> None:
    machine.boot = ""
    assert clock.Kept("", 500.0, 1234.0).now() == 1234.0
    machine.boot = "first"
    assert clock.Kept("first", 500.0, 1234.0).now() == 1500.0


def test_an_open_request_is_open_when_its_store_is_opened_by_the_next_process(
    opened: Callable[[], Store], machine: Machine
) -> None:
    request = asked(opened())
    machine.passes(60)
    found = opened().requests.find(request.id)
    assert found is not None
    assert found.state is State.OPEN


@pytest.mark.parametrize("jump", [-200 * DAY, -3 * 3600.0, 200 * DAY])
def test_a_clock_that_was_wrong_for_seconds_is_right_again_once_nobody_waits(
    opened: Callable[[], Store], machine: Machine, jump: float
) -> None:
    store = opened()
    request = asked(store)
    assert store.decisions.cancel(request, ALICE, store.database.clock())
    machine.passes(2 * 3600)
    machine.wall += jump
    store.database.keep_time()
    machine.passes(7)
    machine.wall -= jump
    machine.passes(2 * 3600 + 1)  # what was asked may seem to be of an hour ago, or to come within one
    store.database.keep_time()
    assert abs(machine.wall - store.database.clock().timestamp()) < 1
    assert abs(machine.wall - opened().database.clock().timestamp()) < 1


def test_what_was_closed_by_a_clock_that_was_wrong_fills_no_budget_for_ever(
    opened: Callable[[], Store], machine: Machine
) -> None:
    store = opened()
    machine.wall += 200 * DAY
    store.database.keep_time()
    ahead = asked(store)
    assert store.decisions.claim(ahead, ALICE, Mode.SESSION, store.database.clock(), Budget(1))
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE closing_requests SET state = 'done'")
    machine.wall -= 200 * DAY
    machine.passes(3700)
    store.database.keep_time()
    machine.passes(1)
    assert abs(machine.wall - store.database.clock().timestamp()) < 1
    assert store.decisions.claim(asked(store), ALICE, Mode.SESSION, store.database.clock(), Budget(1))


def test_two_starts_with_a_wrong_clock_let_go_of_nothing(opened: Callable[[], Store], machine: Machine) -> None:
    store = opened()
    for _ in range(20):
        asked(store)
        machine.passes(DAY)
    machine.wall += 200 * DAY
    asked(opened())
    machine.passes(60)
    keeps = retention(opened(), machine)
    machine.passes(3600)
    assert keeps.let_go(KEEP) == 0
    assert records(store) == 21


def test_a_request_is_kept_as_long_as_its_own_record(opened: Callable[[], Store], machine: Machine) -> None:
    store = opened()
    first = asked(store)
    assert store.decisions.cancel(first, ALICE, store.database.clock())
    machine.wall -= 200 * DAY  # for a moment
    machine.passes(2 * 3600)
    store.database.keep_time()
    late = asked(store)
    assert store.decisions.cancel(late, ALICE, store.database.clock())
    machine.wall += 200 * DAY
    keeps = retention(store, machine)
    machine.passes(DAY + 1)
    assert keeps.let_go(KEEP) == 0
    assert store.requests.find(late.id) is not None


def test_until_the_store_has_said_what_time_it_is_nothing_is_judged() -> None:
    def away() -> None:
        raise StoreError("The store does not answer.")

    one = clock.StoreClock(away)
    with pytest.raises(StoreError):
        one()
    one.tell(5.0)
    assert one().year == 1970


class ServersDatabase(Database):
    """Stands for that of a shared store, whose server has a clock of its own that somebody sets."""

    def __init__(self, address: str, machine: Machine) -> None:
        super().__init__(address)
        self.shared = True
        self.machine = machine
        self.set_by = 0.0

    @property
    def now(self) -> sa.ColumnElement[float]:
        return sa.literal(self.machine.wall + self.set_by, sa.Double)


@pytest.mark.parametrize("by", [301.0, -3600.0])
def test_a_server_whose_clock_was_set_keeps_nobody_from_taking_over_what_was_left_for_longer_than_a_lease(
    opened: Callable[[], Store], machine: Machine, tmp_path: Path, by: float
) -> None:
    left = opened()
    request = asked(left)
    assert claims(left, request)
    with contextlib.closing(ServersDatabase(f"sqlite:///{tmp_path / 'store.db'}", machine)) as database:
        attempts = OpenAttempts(Store(database), lambda: machine.up)
        attempts.renew()
        machine.passes(LEASE.total_seconds() + 1)
        assert attempts.may_take_over()
        database.set_by = by
        assert not attempts.may_take_over(), "who is there must have had the time to say so by the new clock"
        assert abs((database.clock() - request.created_at).total_seconds()) < 60, "somebody waits by the one before"
        machine.passes(LEASE.total_seconds() + 1)
        assert attempts.may_take_over(), "however long somebody waits"
        store = Store(database)
        assert [one.id for one in store.leases.abandoned(())] == [request.id]
