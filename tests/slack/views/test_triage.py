"""The answer to /sessions triage: its findings in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bot.sessions.diagnosis.examination import Result
from bot.sessions.diagnosis.triage import Blocker, Candidates, Check, Thresholds
from bot.sessions.model import Transaction, WaitKind
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import advise
from bot.sessions.waits.blockages import blockages
from bot.sessions.waits.case import Case
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph
from bot.slack.views.triage import triage
from bot.slack.views.triage_findings import Shown
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like
from tests.support.slack_text import text_of

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
ONE, TWO = (like(EXAMPLE, id=number) for number in (21, 22))
IDLE = like(EXAMPLE, id=11, command="Sleep", state="SLEEP", statement=None, time=252.0, transaction_state="ACTIVE")
XA = Prepared(Transaction(77, "PREPARED"), xid="a'b")


def row(waiter: object, holder: object) -> Wait:
    return Wait(waiter, holder, WaitKind.ROW_LOCK, "GV$OB_LOCKS", 9.0, "shop.stock")  # type: ignore[arg-type]


def said(*waits: Wait, hidden: int = 0) -> str:
    graph = WaitGraph("prod", NOW, waits)
    findings = tuple(Blocker(one, advise(Case.of(one.who, graph)), hidden) for one in blockages(graph))
    return answer(Result("prod", NOW, findings))


def answer(result: Result) -> str:
    full = Disclosure.ALL_BUT_PASSWORDS
    return triage([result], Shown(lambda _source: full, lambda _source: 20, Thresholds())).text


def test_who_holds_up_others_is_told_in_the_words_of_locks() -> None:
    head = said(row(ONE, IDLE), row(TWO, IDLE), hidden=1)
    assert "holds up 2 sessions (1 that you may not see), the longest for 9.0 s: row lock on shop.stock. It" in head
    assert "A circle of 2 sessions holds up 2 sessions, the longest" in said(row(ONE, TWO), row(TWO, ONE))
    assert "A prepared XA transaction a'b (id 77) holds up 1 session, the longest" in said(row(ONE, XA))
    assert "1 session waits for a holder that is not named, the longest" in said(row(ONE, None))


def test_of_several_candidates_it_is_said_that_no_view_names_the_holder() -> None:
    waits = tuple(replace(row(ONE, one), candidate=True) for one in (IDLE, TWO))
    told = answer(Result("prod", NOW, (Candidates(blockages(WaitGraph("prod", NOW, waits))),)))
    assert "1 session waits for a holder that no view here names, the longest for 9.0 s: row lock" in told


def test_while_nothing_has_been_read_yet_it_is_not_said_that_nothing_was_found() -> None:
    begun = Result("prod", NOW, pending=True)
    assert "prod: Nothing is known yet. It goes on." in answer(begun)
    assert "prod: nothing found so far. It goes on." in answer(replace(begun, checked=(Check.WAITS,)))
    full = Disclosure.ALL_BUT_PASSWORDS
    shown = Shown(lambda _source: full, lambda _source: 20, Thresholds())
    many = [replace(begun, source=f"prod{number}") for number in range(13)]
    blocks = triage(many, shown).payload()
    assert "1 more data source, not all known yet: " in text_of({"blocks": blocks})
