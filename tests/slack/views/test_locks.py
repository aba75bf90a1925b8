"""The answer to /sessions locks on waits of every shape: what is said first, what is offered, and Slack's limits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from bot.sessions.details import SessionDetails
from bot.sessions.model import LastStatement, Session, Transaction, WaitKind
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.waits.advice import Action, Advice, advise
from bot.sessions.waits.blockages import blockages
from bot.sessions.waits.case import Case
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.views import locks as view
from bot.slack.views import waits
from bot.slack.views.session_details import Waiting, session_details
from sandbox.slack.rules import check_message
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like
from tests.support.slack_text import buttons_of, table_of, text_of

IDLE = like(EXAMPLE, command="Sleep", state="SLEEP", statement=None, time=252.0, transaction_state="ACTIVE")


def waiter(number: int, **changes: Any) -> Session:
    return like(EXAMPLE, id=number, user=f"user{number}", **changes)


def row(waiting: Session, holder: Session | Prepared | None, waited: float = 9.0, **changes: Any) -> Wait:
    wait = Wait(waiting, holder, WaitKind.ROW_LOCK, "GV$OB_LOCKS", waited, "shop.stock")
    return replace(wait, **changes)


def asked(*waits: Wait, **more: Any) -> view.Locks:
    graph = WaitGraph("prod", datetime(2026, 11, 21, 3, 0, tzinfo=UTC), waits, lacks=more.pop("lacks", ()))
    told = blockages(graph)
    tenants: Collection[str] | None = more.get("tenants")
    advised = [
        view.Advised(one, advise(Case.of(one.who, graph)) if tenants is None or one.who.tenant in tenants else None)
        for one in told[: view.MOST]
    ]
    return view.Locks(graph, more.get("tenants"), "on=prod", tuple(advised), max(0, len(told) - 5), more.get("open"))


def shown(found: view.Locks, disclosure: Disclosure = Disclosure.DIGEST) -> tuple[Message, dict[str, Any]]:
    message = view.locks(found, disclosure=disclosure)
    for blocks in (message.payload(), message.fallback_payload() or message.payload()):
        check_message({"text": message.text, "blocks": blocks})
    return message, {"blocks": message.payload()}


def test_the_head_is_told_first_with_what_to_do_and_the_chain_stands_below() -> None:
    head = replace(like(IDLE, id=11, user="batch"), transaction=Transaction(7, "ACTIVE", age=300.0))
    head = replace(head, last_statement=LastStatement(Statement.of("UPDATE stock SET n = 4242"), 250.0))
    second = waiter(12)
    message, said = shown(asked(row(second, head), row(waiter(13), second, 30.0), row(waiter(14), head)))
    text = text_of(said)
    assert "1. Session 11 holds up 3 sessions, the longest for 30 s · row lock on shop.stock" in text
    assert "Close Session 11. It has been idle for 252 s in a transaction" in text
    assert "User batch  ·  Source 10.0.3.7:51234  ·  Database Name orders  ·  Tenant shop" in text
    assert "Status SLEEP, idle for 252 s  ·  Transaction ACTIVE, open for 300 s" in text
    assert "Ran last, 250 s ago UPDATE stock SET n = ?" in text
    assert buttons_of(said) == ["Close Session 11", "Details 11", "Refresh"]
    assert [line[:3] for line in table_of(said)[1:]] == [
        ["11", "-", "-"],
        ["↳ 12", "row lock on shop.stock", "9.0 s"],
        ["↳ ↳ 13", "row lock on shop.stock", "30 s"],
        ["↳ 14", "row lock on shop.stock", "9.0 s"],
    ]
    assert message.text.startswith("Locks on prod: Session 11 holds up 3 sessions, the longest for 30 s")
    assert "It is batch from 10.0.3.7:51234, SLEEP for 252 s. Close Session 11. It has been idle" in message.text
    assert "4242" not in str(said) + message.text
    full = text_of(shown(asked(row(second, head)), Disclosure.ALL_BUT_PASSWORDS)[1])
    assert "SET n = 4242" in full


def test_a_statement_that_is_all_of_its_transaction_is_closed_by_its_query_first() -> None:
    head = replace(waiter(11), transaction=Transaction(7, "ACTIVE", autocommit=True))
    assert buttons_of(shown(asked(row(waiter(12), head)))[1])[:2] == ["Close Query 11", "Close Session 11"]


@pytest.mark.parametrize(
    "who",
    [
        like(IDLE, state="SESSION_KILLED", command="Query"),
        replace(IDLE, own=True),
        Prepared(Transaction(77, "RUNNING"), "shop", "a'b"),
    ],
    ids=["ending", "the bot's own", "prepared XA"],
)
def test_what_is_not_to_be_closed_has_no_close_button(who: Session | Prepared) -> None:
    _, said = shown(asked(row(waiter(12), who)))
    assert not [label for label in buttons_of(said) if label.startswith("Close")]


def test_a_prepared_transaction_is_told_as_such_with_how_it_ends() -> None:
    message, said = shown(asked(row(waiter(12), Prepared(Transaction(77, "RUNNING"), "shop", "a'b"))))
    assert "Prepared XA transaction a'b (id 77) holds up 1 session" in text_of(said)
    assert "Nothing to close. A prepared XA transaction" in message.text
    assert table_of(said)[1][0] == "prepared XA 77"


def test_a_candidate_is_called_one_everywhere() -> None:
    message, said = shown(asked(row(waiter(12), like(IDLE, id=11), candidate=True, kind=WaitKind.METADATA)))
    for text in (text_of(said), message.text):
        assert "Session 11 may hold up 1 session" in text
        assert "a candidate: the server does not name the holder" in text
        assert "If that is who holds it: Close Session 11." in text
    assert [line[:2] for line in table_of(said)[1:]] == [
        ["11, a candidate", "-"],
        ["↳ 12", "table metadata lock on shop.stock, 1 candidate"],
    ]
    one = waiter(12)
    several = asked(*(row(one, like(IDLE, id=number)) for number in (11, 13, 15)))
    assert table_of(shown(several)[1])[2][1] == "row lock on shop.stock, 3 holders"


def test_a_holder_that_nobody_names_is_told_as_such_and_nothing_is_offered_to_be_closed() -> None:
    _, said = shown(asked(row(waiter(12), None, kind=WaitKind.USER_LOCK, what=None)))
    assert "1. 1 session waits for a holder that is not named" in text_of(said)
    assert "Session 12: Wait. It waits itself" in text_of(said)
    assert table_of(said)[1][0] == "holder not named"
    assert [label for label in buttons_of(said) if label.startswith("Close")] == []


def test_a_circle_is_told_as_one_and_ends_in_the_table() -> None:
    one, two = waiter(21), waiter(22, time=3.0)
    _, said = shown(asked(row(one, two, 60.0), row(two, one, 60.0), row(waiter(23), two)))
    assert "A circle of 2 sessions (22, 21) holds up 3 sessions" in text_of(said)
    assert "Session 22: Close Session 22. 2 sessions wait for each other in a circle." in text_of(said)
    assert "↳ ↳ back to 22" in [line[0] for line in table_of(said)]
    _, said = shown(asked(row(one, two, 1.0), row(two, one, 1.0)))
    assert "Wait 10 s: the server ends one of them by itself" in text_of(said)
    assert not [label for label in buttons_of(said) if label.startswith("Close")]


def test_of_whom_one_may_not_see_there_is_only_how_many() -> None:
    secret = like(EXAMPLE, tenant="hr", user="paymaster", origin="10.9.9.9:1", statement=Statement.of("SELECT payroll"))
    head = like(IDLE, id=11)
    hidden = [replace(secret, id=number) for number in (90, 91, 92)]
    waits = [row(waiter(12), head), *(row(one, head) for one in hidden)]
    message, said = shown(asked(*waits, tenants=frozenset({"shop"})))
    assert "Session 11 holds up 4 sessions (3 that you may not see)" in text_of(said)
    assert "↳ 3 sessions that you may not see" in [line[0] for line in table_of(said)]
    behind = [row(waiter(12), replace(secret, id=90)), row(replace(secret, id=91), replace(secret, id=90))]
    message, other = shown(asked(*behind, tenants=frozenset({"shop"})))
    assert "A session that you may not see holds up 2 sessions (1 that you may not see)" in text_of(other)
    assert buttons_of(other) == ["Refresh"]
    for told in (str(said), str(other), message.text):
        assert not [one for one in ("paymaster", "10.9.9.9", "payroll", "'90", "91", "hr") if one in told]


def test_two_hundred_waiters_leave_room_for_the_other_heads_and_the_rest_is_counted() -> None:
    wide = "W" * 300
    heads = [like(IDLE, id=number, user=wide, origin=wide, database=wide, tenant=wide) for number in range(11, 18)]
    waits = [row(waiter(number, origin=wide, tenant=wide), heads[0], what=wide) for number in range(1000, 1200)]
    waits += [row(waiter(2000 + head.id), head) for head in heads[1:]]
    message, said = shown(asked(*waits, lacks=(wide,) * 5))
    assert "1. Session 11 holds up 200 sessions" in text_of(said)
    assert "and 2 more that hold up others" in text_of(said)
    table = table_of(said)
    assert len(table) <= 31
    assert {"12", "17", "↳ 2012"} <= {line[0] for line in table}
    counted = [line[0] for line in table if "more" in line[0]]
    listed = sum(line[0].removeprefix("↳ ").isdecimal() and len(line[0]) == len("↳ 1000") for line in table)
    assert counted == [f"↳ and {206 - listed} more"]
    assert len(message.text) < 1500


def test_a_deep_chain_says_how_deep_it_is() -> None:
    chain = [waiter(number) for number in range(10, 30)]
    _, said = shown(asked(*(row(one, holder) for holder, one in pairwise(chain))))
    assert [line[0] for line in table_of(said)][7:9] == ["↳ ↳ ↳ ↳ ↳ ↳ 16", "↳ (7) 17"]


@pytest.mark.parametrize(
    ("open_", "sentence"),
    [
        (None, "No session waits for another one."),
        (view.Open(0), "No transaction is open."),
        (view.Open(1, 3.0), "1 transaction is open for 3.0 s"),
        (view.Open(12, 3.0), "12 transactions are open, the oldest for 3.0 s"),
        (view.Open(1000, None, more=True), "At least 1,000 transactions are open: /sessions transactions lists them."),
    ],
)
def test_without_waits_it_is_said_what_is_open(open_: view.Open | None, sentence: str) -> None:
    message, said = shown(asked(open=open_))
    for text in (text_of(said), message.text):
        assert sentence in text
    assert "as of" in text_of(said)
    assert buttons_of(said) == ["Refresh"]


def test_where_one_may_not_see_all_that_is_not_told_as_nothing() -> None:
    _, said = shown(asked(open=view.Open(0), tenants=frozenset({"shop"})))
    assert "No session that you may see waits for another one. No transaction that you may see is open." in text_of(
        said
    )


def test_a_ddl_at_the_head_of_a_queue_is_offered_before_whom_it_waits_for() -> None:
    ddl, holder = waiter(20, statement=Statement.of("ALTER TABLE orders ADD x INT")), like(IDLE, id=11)
    graph = [row(ddl, holder, kind=WaitKind.METADATA), row(waiter(21), ddl, kind=WaitKind.METADATA)]
    found = asked(*graph)
    close_query = Advice(Action.CLOSE_QUERY, "It frees the 1 behind it and loses only the DDL.")
    found = replace(found, advised=(replace(found.advised[0], advice=close_query), *found.advised[1:]))
    _, said = shown(found)
    assert "1. Session 20 waits itself, and holds up 1 session" in text_of(said)
    assert buttons_of(said)[0] == "Close Query 20"
    assert "2. Session 11 holds up 2 sessions" in text_of(said)


def test_of_a_waiter_that_one_may_not_see_neither_its_table_is_told_nor_how_long_it_waits() -> None:
    hidden = waiter(12, tenant="billing")
    head = like(IDLE, id=11)
    found = asked(row(hidden, head, 5_000.0, what="billing.salaries"), row(waiter(13), head), tenants={"shop"})
    message, said = shown(found)
    for text in (text_of(said), message.text):
        assert "holds up 2 sessions (1 that you may not see), the longest for 9.0 s" in text
        assert "row lock on shop.stock" in text
        assert "salaries" not in text


def test_what_the_login_may_not_read_is_said_also_where_nobody_is_seen_to_wait() -> None:
    lacks = ("Grant SELECT on oceanbase.GV$OB_LOCKS to see row locks.",)
    message, said = shown(asked(lacks=lacks))
    assert lacks[0] in text_of(said)
    for text in (text_of(said), message.text):
        assert "No session waits" not in text, "that is not known"
        assert "No wait is seen here, though not all can be read" in text


def card(session: Session, graph: WaitGraph, **changes: Any) -> dict[str, Any]:
    waiting = replace(Waiting(graph, advise(Case.of(session, graph))), **changes)
    blocks = session_details(
        SessionDetails(session), graph.as_of, disclosure=Disclosure.DIGEST, waiting=waiting
    ).payload()
    return {"blocks": blocks}


def test_a_card_counts_whom_it_does_not_name_and_leads_to_all_waits() -> None:
    head = like(IDLE, id=11)
    graph = asked(*(row(waiter(1000 + number), head) for number in range(50))).graph
    said = card(head, graph)
    assert "Holds up 50 sessions: 1000, 1001, 1002, " in text_of(said)
    assert "1019 and 30 more" in text_of(said)
    assert "Close Session 11. It has been idle" in text_of(said)
    assert buttons_of(said) == ["View SQL", "Close Session", "Refresh", "Who blocks?"]
    hidden = text_of(card(head, graph, tenants=frozenset({"hr"})))
    assert "Holds up 50 sessions that you may not see" in hidden
    assert "1000" not in hidden


def test_the_card_of_a_waiter_names_whom_it_waits_for_and_the_one_advised_is_the_first_close() -> None:
    one, head = waiter(12), like(IDLE, id=11)
    graph = asked(row(one, head), row(one, Prepared(Transaction(77, "RUNNING"), "shop", "x")), row(one, None)).graph
    said = text_of(card(one, graph))
    assert "Waits for a row lock on shop.stock for 9.0 s, held by session 11 (app from 10.0.3.7:51234, idle" in said
    assert "held by prepared XA transaction x (id 77)" in said
    assert buttons_of(card(one, graph))[:2] == ["View SQL", "Who blocks?"], "before any close of the victim"
    assert "held by a session that this server does not name" in said
    assert "held by a session that you may not see" in text_of(card(one, graph, tenants=frozenset({"hr"})))
    runs = replace(waiter(13), transaction=Transaction(7, "ACTIVE"))
    assert buttons_of(card(runs, asked(row(one, runs)).graph))[1:3] == ["Close Session", "Close Query"]
    killed = replace(runs, state="SESSION_KILLED")
    assert buttons_of(card(killed, asked(row(one, killed)).graph)) == ["View SQL", "Refresh", "Who blocks?"]
    quiet = like(
        EXAMPLE, id=5, command="Sleep", state="SLEEP", statement=None, transaction_id=None, transaction_state=None
    )
    assert buttons_of(card(quiet, graph)) == ["View SQL", "Close Session", "Refresh"]
    assert "Nothing to close" not in text_of(card(quiet, graph))


def test_what_is_advised_about_the_head_is_not_cut_in_the_middle_of_its_sentence() -> None:
    then = f"Session 1 of app: Nothing to close. {'It holds a user lock. ' * 10}Its client has to, by RELEASE_LOCK."
    said = waits.advised(EXAMPLE, Advice(Action.NOTHING, "It waits itself.", then=then))
    assert said[-1]["text"] == f"It waits itself. {then}"
