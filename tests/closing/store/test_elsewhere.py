"""The store on a MariaDB, a MySQL and an OceanBase: the same promises as on SQLite, with several replicas on it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.closing.model import (
    ApprovalPolicy,
    Budget,
    Call,
    CardPlace,
    ClosingRequest,
    Outcome,
    State,
    Target,
    TargetOutcome,
    Untouched,
)
from bot.closing.store import Store, audit_log, budget, schema
from bot.closing.store.cards import Cards
from bot.closing.store.database import Database
from bot.closing.store.deliveries import REMEMBERED, Taken
from bot.errors import BudgetError, StoreError
from bot.sessions.kill import Answer
from bot.sessions.model import Mode
from bot.sessions.statement import Statement
from sandbox.databases.embedded import EmbeddedServer
from tests.closing.conftest import ALICE, BOB, DORA
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like

# What a database may turn into something else: case, blanks at the end, other planes, quotes, signs of LIKE.
HOSTILE = "\U0001f480 Zoë “x” \\' \" `a` -- ; %s %(x)s :y {z} _ % \0 \x1a \x7f \u202e\u2028\ufffe\U0010ffff\r\n\t  "
MINUTE = timedelta(minutes=1)

NewStore = Callable[[], Store]

_schemas = itertools.count(1)


@pytest.fixture(params=["oceanbase", "mariadb", "mysql"], ids=["oceanbase-4.3.5", "mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def new_store(server: EmbeddedServer) -> Iterator[NewStore]:
    """Give replicas of the bot that share one schema, which is empty at first."""
    schema = f"store_{next(_schemas)}"
    url = sa.URL.create("mysql+pymysql", server.user, server.password, server.host, server.port, schema)
    stores: list[Store] = []

    def make() -> Store:
        stores.append(Store(Database(url.render_as_string(hide_password=False))))
        return stores[-1]

    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
        yield make
        for one in stores:
            one.database.close()
        cursor.execute(f"DROP DATABASE {schema}")


@pytest.fixture
def stores(new_store: NewStore) -> tuple[Store, Store]:
    first, second = new_store(), new_store()
    first.database.create()
    return first, second


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]


def now() -> datetime:
    return datetime.now(UTC)


_ids = itertools.count(1)


def added(store: Store, count: int = 1, at: datetime | None = None, **more: object) -> ClosingRequest:
    asked = at or now()
    request = ClosingRequest(
        id=f"request-{next(_ids)}",
        source="prod",
        mode=Mode.SESSION,
        requester=ALICE,
        channel="C01INC",
        reason="why",
        approval=ApprovalPolicy.REQUESTER,
        created_at=asked,
        expires_at=asked + 2 * MINUTE,
        targets=tuple(Target(number, replace(EXAMPLE, id=1000 + number)) for number in range(1, count + 1)),
    )
    request = replace(request, **more)  # type: ignore[arg-type]  # as a test names them
    store.requests.add(request)
    return request


def taken(store: Store, request: ClosingRequest) -> ClosingRequest:
    """Claim it for Alice and return it as it stands then."""
    assert store.decisions.claim(request, ALICE, Mode.SESSION, now())
    return kept(store, request)


def kept(store: Store, request: ClosingRequest) -> ClosingRequest:
    found = store.requests.find(request.id)
    assert found is not None
    return found


def events(store: Store, request: ClosingRequest | None = None) -> list[str]:
    with store.database.reading() as connection:
        return [one.event for one in audit_log.entries(connection, request_id=request.id if request else None)]


def lapse(store: Store) -> None:
    """Let all leases end."""
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE closing_requests SET lease_until = 0 WHERE state = 'claimed'")


def abandoned(store: Store) -> list[ClosingRequest]:
    """What this replica would take over once all leases have ended."""
    lapse(store)
    return store.leases.abandoned(())


def problems(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return audit_log.problems(audit_log.whole(connection))


def test_a_request_comes_back_as_it_was_whatever_its_texts(stores: tuple[Store, Store]) -> None:
    session = like(EXAMPLE, user=HOSTILE, statement=Statement.of(HOSTILE * 10), client_info=HOSTILE)
    request = added(
        stores[0],
        reason=HOSTILE,
        filter_text=HOSTILE,
        override=(HOSTILE, "x"),
        targets=(Target(1, session),),
        untouched=(Untouched(5, None, HOSTILE), Untouched(2**32 - 1, HOSTILE, "x")),
        matching=7,
    )
    stores[0].cards.place(request, CardPlace("C1", "1718.0001"))
    assert kept(stores[1], request) == replace(request, card=CardPlace("C1", "1718.0001"))
    outcome = TargetOutcome(Outcome.CLOSED, HOSTILE, now(), Answer.ERROR.value, HOSTILE)
    claim = taken(stores[1], request)
    stores[1].outcomes.conclude(claim, {1: outcome}, now())
    assert kept(stores[0], request).targets[0].detail == HOSTILE
    with stores[1].database.reading() as connection:
        first, *_, last = audit_log.entries(connection)
    assert (first.details["reason"], last.details["detail"], last.details["answer"]) == (HOSTILE,) * 3
    assert problems(stores[0]) == []


def test_ids_differ_by_case_and_by_blanks(store: Store) -> None:
    added(store, id="AbC")
    added(store, id="abc", reason="another")
    assert [found.reason for found in (store.requests.find("AbC"), store.requests.find("abc")) if found] == [
        "why",
        "another",
    ]
    assert store.requests.find("ABC") is None
    assert set(store.requests.those(["abc", "AbC", "ABC"])) == {"abc", "AbC"}


def test_times_are_kept_to_the_microsecond(store: Store) -> None:
    at = datetime(2026, 3, 29, 1, 59, 59, 999_999, UTC)
    request = added(store, at=at)
    assert (kept(store, request).created_at, kept(store, request).expires_at) == (at, at + 2 * MINUTE)


def test_of_twenty_presses_on_two_replicas_one_gets_the_claim(stores: tuple[Store, Store]) -> None:
    request = added(stores[0])
    start = threading.Barrier(20)

    def press(number: int) -> bool:
        start.wait()
        if number % 5 == 4:
            return stores[number % 2].decisions.cancel(request, BOB, now())
        return stores[number % 2].decisions.claim(request, (ALICE, BOB)[number % 3 % 2], Mode.SESSION, now(), Budget(1))

    with ThreadPoolExecutor(20) as pool:
        claims = list(pool.map(press, range(20)))
    assert claims.count(True) == 1
    assert events(stores[0], request) in (["request", "confirm"], ["request", "cancel"])
    assert problems(stores[1]) == []


def test_no_kill_is_intended_without_the_claim_and_none_twice(stores: tuple[Store, Store]) -> None:
    first = stores[0]
    request = added(first, 2)
    with pytest.raises(StoreError, match="taken over"):
        first.intents.intend(request, request.targets[0], "KILL 1001", now())
    claim = taken(first, request)
    start = threading.Barrier(8)

    def intend(number: int) -> bool:
        start.wait()
        try:
            stores[number % 2].intents.intend(claim, claim.targets[0], "KILL 1001", now())
        except StoreError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(intend, range(8))) == 1
    released = [one.leases.release(claim, now(), "nothing was sent") for one in stores]
    assert released == [False, False], "after an intent it is never opened again"
    assert events(first, request) == ["request", "confirm", "intent"]


def test_a_claim_that_was_released_and_taken_by_somebody_else_is_not_ones_own(stores: tuple[Store, Store]) -> None:
    first, second = stores
    request = added(first)
    mine = taken(first, request)
    assert not second.leases.take_over(mine)
    lapse(second)
    assert second.leases.take_over(mine)
    assert second.leases.release(mine, now(), "the bot stopped")
    assert second.decisions.claim(request, BOB, Mode.QUERY, now())
    with pytest.raises(StoreError, match="taken over"):
        first.intents.intend(mine, mine.targets[0], "KILL 1001", now())
    assert not first.leases.release(mine, now(), "it came to nothing")
    first.outcomes.conclude(mine, {1: TargetOutcome(Outcome.CLOSED, "", now())}, now())
    theirs = kept(second, request)
    assert (theirs.state, theirs.decided_by, theirs.targets[0].outcome) == (State.CLAIMED, BOB, None)
    second.intents.intend(theirs, theirs.targets[0], "KILL QUERY 1001", now())


def test_a_request_ends_with_the_last_of_its_outcomes_each_written_once(stores: tuple[Store, Store]) -> None:
    store, other = stores
    claim = taken(store, added(store, 3))
    store.intents.intend(claim, claim.targets[0], "KILL 1001", now())
    found = {number: TargetOutcome(Outcome.CLOSED, f"{number}", now()) for number in (1, 2)}
    for _ in range(2):
        store.outcomes.conclude(claim, found, now())
    assert kept(store, claim).state is State.CLAIMED
    assert [one.id for one in abandoned(other)] == [claim.id]
    store.outcomes.conclude(claim, {3: TargetOutcome(Outcome.NOT_SENT, "", now())}, now())
    done = kept(store, claim)
    assert done.state is State.DONE
    assert [one.outcome for one in done.targets] == [Outcome.CLOSED, Outcome.CLOSED, Outcome.NOT_SENT]
    assert events(store, claim) == ["request", "confirm", "intent", "outcome", "outcome", "outcome"]
    assert abandoned(other) == []


def test_a_later_outcome_is_written_once_and_its_card_is_to_be_shown_anew(stores: tuple[Store, Store]) -> None:
    first, second = stores
    request = added(first, at=now() - MINUTE)
    first.cards.place(request, CardPlace("C1", "1.2"))
    claim = taken(first, request)
    first.outcomes.conclude(claim, {1: TargetOutcome(Outcome.ROLLING_BACK, "", now())}, now())
    first.cards.mark_shown(kept(first, request))
    a_minute_later = Cards(second.database, second.requests, lambda: now() + MINUTE)
    assert a_minute_later.unshown() == []
    later = TargetOutcome(Outcome.CLOSED, "It took longer.", now())
    amended = [one.outcomes.amend(claim, claim.targets[0], Outcome.ROLLING_BACK, later, now()) for one in stores]
    assert amended == [True, False]
    assert [one.targets[0].outcome for one in a_minute_later.unshown()] == [Outcome.CLOSED]
    assert events(first, request)[-2:] == ["outcome", "later"]


def test_requests_that_run_out_of_time_are_marked_by_one_replica(stores: tuple[Store, Store]) -> None:
    late = [added(stores[0], at=now() - 5 * MINUTE) for _ in range(4)]
    added(stores[0])
    start = threading.Barrier(2)

    def expire(store: Store) -> list[str]:
        start.wait()
        return [one.id for one in store.requests.expire(now())]

    with ThreadPoolExecutor(2) as pool:
        marked = list(itertools.chain(*pool.map(expire, stores)))
    assert sorted(marked) == sorted(one.id for one in late)
    assert not stores[0].decisions.claim(late[0], ALICE, Mode.SESSION, now())


def test_break_glass_and_its_review_are_taken_once(stores: tuple[Store, Store]) -> None:
    request = added(stores[0], approval=ApprovalPolicy.SECOND_PERSON)
    until = now() + 5 * MINUTE
    asked = replace(request, reason=HOSTILE)
    calls = [Call(BOB.id, CardPlace("D02BOB", "1.2"))]
    allowed = [
        one.break_glass.allow(asked, ALICE, now(), alone_from=now(), expires_at=until, called_at=now(), calls=calls)
        for one in stores
    ]
    assert allowed == [True, False]
    assert (kept(stores[1], request).reason, kept(stores[1], request).calls) == (HOSTILE, tuple(calls))
    claim = taken(stores[1], request)
    assert not stores[0].break_glass.review(claim, BOB, now())
    stores[1].outcomes.conclude(claim, {1: TargetOutcome(Outcome.CLOSED, "", now())}, now())
    assert [one.id for one in stores[0].break_glass.to_review()] == [request.id]
    assert [
        one.break_glass.review(request, person, now()) for one, person in zip(stores, (BOB, DORA), strict=True)
    ] == [
        True,
        False,
    ]
    assert kept(stores[0], request).reviewed_by == BOB
    assert stores[1].break_glass.to_review() == []


def test_presses_at_once_on_two_replicas_stay_within_the_budget(stores: tuple[Store, Store]) -> None:
    requests = [added(stores[0]) for _ in range(8)]
    start = threading.Barrier(8)

    def press(number: int) -> bool:
        start.wait()
        try:
            return stores[number % 2].decisions.claim(requests[number], ALICE, Mode.SESSION, now(), Budget(3))
        except BudgetError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 3


def test_a_call_for_more_that_is_pressed_on_two_replicas_at_once_allows_more_once(stores: tuple[Store, Store]) -> None:
    with pytest.raises(BudgetError) as told:
        stores[0].decisions.claim(added(stores[0], 4), ALICE, Mode.SESSION, now(), Budget(3))
    with stores[0].database.writing() as connection:
        call = budget.call(connection, told.value, ALICE, "C01INC", now())
    start = threading.Barrier(8)

    def press(number: int) -> bool:
        start.wait()
        with stores[number % 2].database.writing() as connection:
            return budget.extend(connection, call, (BOB, DORA)[number // 2 % 2], Budget(3), now()).added

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 1
    assert events(stores[1]) == ["request", "call for budget", "extend budget"]
    with pytest.raises(BudgetError, match="; 6 are allowed there"):
        stores[1].decisions.claim(added(stores[1], 7), ALICE, Mode.SESSION, now(), Budget(3))


def test_writers_of_two_replicas_at_once_make_one_chain_and_none_waits_for_ever(stores: tuple[Store, Store]) -> None:
    requests = [added(stores[0], 2) for _ in range(6)]
    start = threading.Barrier(12)

    def writes(number: int) -> None:
        mine, request = stores[number % 2], requests[number // 2]
        start.wait()
        for step in range(5):
            if number % 2:
                mine.requests.note(now(), "refused", {"why": HOSTILE, "step": step}, person=BOB, request=request)
            else:
                added(mine)
        if mine.decisions.claim(request, ALICE, Mode.SESSION, now()):
            claim = kept(mine, request)
            mine.intents.intend(claim, claim.targets[1], "KILL 1002", now())
            mine.outcomes.conclude(claim, {one: TargetOutcome(Outcome.CLOSED, "", now()) for one in (2, 1)}, now())

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(writes, range(12)))
    with stores[1].database.reading() as connection:
        numbers = [one.number for one in audit_log.entries(connection)]
    assert numbers == list(range(1, 6 + 60 + 6 * 4 + 1))
    assert problems(stores[0]) == []
    assert {one.state for one in stores[1].requests.those([one.id for one in requests]).values()} == {State.DONE}


def test_a_row_that_was_changed_behind_the_bots_back_is_found(store: Store) -> None:
    for _ in range(4):
        added(store)
    with store.database.reading() as connection:
        connection.exec_driver_sql("UPDATE audit SET person = 'u01alice' WHERE id = 2")
        connection.exec_driver_sql("DELETE FROM audit WHERE id = 4")
        connection.commit()
    assert problems(store) == ["record 2 was changed", "record 4 is missing"]


def test_old_records_and_requests_go_and_the_chain_of_the_others_holds(store: Store) -> None:
    old, waiting = added(store, at=now() - 100 * MINUTE), added(store, at=now() - 100 * MINUTE)
    assert [one.id for one in store.requests.expire(now())]
    assert not store.decisions.cancel(waiting, ALICE, now() - 99 * MINUTE)
    new = added(store)
    assert store.old_records.forget(now() - 50 * MINUTE, now()) == 2
    assert (store.requests.find(old.id), kept(store, new)) == (None, new)
    assert events(store) == ["expire", "expire", "request", "forget"]
    assert problems(store) == []


def test_four_replicas_that_start_at_once_on_an_empty_schema_all_find_it_made(new_store: NewStore) -> None:
    stores = [new_store() for _ in range(4)]
    start = threading.Barrier(4)

    def create(store: Store) -> None:
        start.wait()
        store.database.create()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, stores))
    request = added(stores[3])
    assert kept(stores[0], request) == request
    with stores[1].database.reading() as connection:
        assert audit_log.newest(connection)[0] == 1
        made = {row[2] for row in connection.exec_driver_sql("SHOW INDEX FROM audit")}
    assert made >= {"ix_audit_at", "ix_audit_request_id"}


def test_a_table_that_is_listed_can_be_read_while_others_make_more(new_store: NewStore, server: EmbeddedServer) -> None:
    """OceanBase's information_schema is ahead: of 30 new tables 4 to 10 were listed there and could not be read yet."""
    store = new_store()
    store.database.create()
    ended = threading.Event()

    def read_all() -> set[str]:
        read: set[str] = set()
        with store.database.reading() as connection:
            while not ended.is_set():
                for table in sorted(schema.table_names(connection) - read):
                    connection.exec_driver_sql(f"SELECT * FROM {table} LIMIT 0")
                    read.add(table)
                connection.rollback()
        return read

    with ThreadPoolExecutor(2) as pool, server.connect(database=store.database.engine.url.database) as other:
        readers = [pool.submit(read_all) for _ in range(2)]
        try:
            for number in range(20):
                other.query(f"CREATE TABLE more_{number} (id INT PRIMARY KEY)")
        finally:
            ended.set()
        for one in readers:
            assert "audit" in one.result()


def test_a_table_that_a_replica_finds_but_cannot_read_yet_is_waited_for(
    new_store: NewStore, server: EmbeddedServer
) -> None:
    """Through a proxy the next statement may reach a server of the cluster that does not know the table yet."""
    first, second = new_store(), new_store()
    first.database.create()
    engine = second.database.engine
    refused: list[object] = []

    def renamed(before: str, after: str) -> None:
        with server.connect(database=engine.url.database) as other:
            other.query(f"RENAME TABLE {before} TO {after}")

    @sa.event.listens_for(engine, "before_cursor_execute")
    def take_away(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("SELECT * FROM audit_head") and not refused:
            renamed("audit_head", "not_yet")

    @sa.event.listens_for(engine, "handle_error")
    def bring_back(context: sa.ExceptionContext) -> None:
        refused.append(getattr(context.original_exception, "args", ())[:1])
        renamed("not_yet", "audit_head")

    second.database.create()
    assert refused == [(1146,)]


def test_a_schema_of_an_older_version_is_widened_and_keeps_its_requests(stores: tuple[Store, Store]) -> None:
    request = added(stores[0])
    with stores[0].database.reading() as connection:
        for column in ("planned", "override", "alone_from", "reviewed_by", "reviewed_team", "reviewed_at"):
            connection.exec_driver_sql(f"ALTER TABLE closing_requests DROP COLUMN `{column}`")
    for _ in range(2):
        stores[1].database.create()
    assert kept(stores[1], request) == request


def deliveries(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return list(connection.exec_driver_sql("SELECT id FROM deliveries ORDER BY id").scalars())


def test_of_twenty_who_get_a_delivery_on_two_replicas_one_takes_it(stores: tuple[Store, Store]) -> None:
    start = threading.Barrier(20)

    def take(number: int) -> Taken:
        start.wait()
        return stores[number % 2].deliveries.take("a delivery")

    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(take, range(20)))
    assert taken.count(Taken.OURS) == 1
    assert taken.count(Taken.UNDER_WAY) == 10, "on the other replica"
    assert deliveries(stores[0]) == ["a delivery"]


def test_a_delivery_is_taken_over_from_a_silent_replica_and_never_once_it_is_answered(
    stores: tuple[Store, Store],
) -> None:
    first, second = stores
    assert first.deliveries.take("left") is first.deliveries.take("answered") is Taken.OURS
    first.deliveries.answered("answered")
    assert second.deliveries.take("left") is Taken.UNDER_WAY
    assert second.deliveries.take("answered") is Taken.ANSWERED
    lapsed = "UPDATE deliveries SET lease_until = lease_until - 60"
    with first.database.writing() as connection:
        connection.exec_driver_sql(lapsed)
    first.deliveries.renew()
    assert second.deliveries.take("left") is Taken.UNDER_WAY, "its replica was slow, and is there"
    with first.database.writing() as connection:
        connection.exec_driver_sql(lapsed)
    assert second.deliveries.take("left") is Taken.OURS
    first.deliveries.renew()
    first.deliveries.answered("left")  # which is the other one's now
    assert first.deliveries.take("left") is Taken.UNDER_WAY
    second.deliveries.answered("left")
    assert [one.deliveries.take(name) for one in stores for name in ("left", "answered")] == [Taken.ANSWERED] * 4


def test_rows_of_deliveries_are_written_over_after_an_hour(stores: tuple[Store, Store]) -> None:
    for number in range(3):
        stores[0].deliveries.take(f"old {number}")
    with stores[0].database.writing() as connection:
        aged = sa.text("UPDATE deliveries SET taken_at = taken_at - :hour WHERE id <> 'old 2'")
        connection.execute(aged, {"hour": REMEMBERED + 1})
    assert [stores[1].deliveries.take(f"new {number}") for number in range(3)] == [Taken.OURS] * 3
    assert deliveries(stores[0]) == ["new 0", "new 1", "new 2", "old 2"]
    assert stores[0].deliveries.take("new 0") is Taken.UNDER_WAY


def test_requests_of_one_delivery_are_written_once_and_those_without_a_card_are_given_back(
    stores: tuple[Store, Store],
) -> None:
    first, second = stores
    with_card, without = added(first), added(first)
    first.cards.place(with_card, CardPlace("C1", "1.2"))
    before = events(first)
    assert second.requests.add(replace(with_card, reason="again"), replace(without, reason="again")) == [without]
    assert events(first) == before
    assert kept(second, with_card).reason == "why"
    assert problems(second) == []
