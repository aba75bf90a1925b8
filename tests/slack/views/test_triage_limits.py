"""The answer to /sessions triage: it fits into a message, and tells nothing of sessions that one may not see."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.sessions.diagnosis.examination import Result
from bot.sessions.diagnosis.survey import Limit
from bot.sessions.diagnosis.triage import Check, CrowdingClient, LongStatement, Look, SameStatement, Thresholds, find
from bot.sessions.model import Session, WaitKind
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.waits.advice import Action, Advice, advise
from bot.sessions.waits.case import Case
from bot.sessions.waits.graph import Wait, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.views import triage as view
from bot.slack.views import triage_findings as findings_view
from tests.sessions.examples import EXAMPLE
from tests.support.harmless import refusals_of
from tests.support.sessions import like
from tests.support.slack_text import buttons_of, elements_of, text_of

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
IDLE = like(EXAMPLE, id=5, command="Sleep", state="SLEEP", statement=None, transaction_state="ACTIVE")
LATE = "it took too long. Data source shop has not answered within 2 s. Try again."
MISSING = "Who holds metadata locks is not known: GRANT SELECT ON performance_schema.metadata_locks, then look again."


def shown(*results: Result) -> Message:
    thresholds = Thresholds()
    return view.triage(results, findings_view.Shown(lambda _source: Disclosure.DIGEST, lambda _source: 20, thresholds))


def sick(name: str, findings: int, caveats: int = 3) -> Result:
    advice = Advice(Action.CLOSE_SESSION, "It has been idle for 252 s in a transaction. Closing it frees 500 sessions.")
    found = tuple(LongStatement(like(EXAMPLE, id=100 + each, user="n" * 200), advice) for each in range(findings))
    return Result(name, NOW, found, tuple(Check), ((Check.WAITS, LATE),) * 3, (MISSING,) * caveats, sessions=5_000)


@pytest.mark.parametrize(("sources", "findings"), [(1, 40), (2, 20), (10, 20), (25, 0), (60, 20)])
def test_findings_of_however_many_data_sources_fit_and_the_worst_of_each_come_first(
    sources: int, findings: int
) -> None:
    message = shown(*(sick(f"source-{each}", findings) for each in range(sources)))
    assert not list(refusals_of(message))
    said = text_of({"blocks": message.payload()})
    told = min(sources, 5) if findings else 0
    for each in range(told):
        assert f"source-{each}" in said
    assert said.count("Session 100 (") >= told
    if sources == 60:
        assert "more data sources, " in said
        assert "Name one with on=." in said


def test_every_check_that_failed_is_named_and_caveats_that_have_no_room_are_counted() -> None:
    result = Result("shop", NOW, not_checked=tuple((each, LATE) for each in Check), caveats=(MISSING,) * 9)
    said = text_of({"blocks": shown(result).payload()})
    for each in Check:
        assert f"Not checked: {each.value}, it took too long." in said
    assert "and 5 more like that." in said


def of_two_tenants(*waits: Wait) -> Result:
    graph = WaitGraph("prod", NOW, waits)
    tenants = frozenset({"shop"})
    look = Look((), graph.seen_by(tenants), tenants=tenants)
    found = find(look, Thresholds(), lambda seen, who: advise(Case.of(who, seen)), lambda _seen, _session: "")
    return Result("prod", NOW, found, tuple(Check))


def row(waiter: Session, holder: Session | None, what: str | None, waited: float) -> Wait:
    return Wait(waiter, holder, WaitKind.ROW_LOCK, "a view", waited, what)


def test_of_a_waiter_that_one_may_not_see_neither_its_table_is_told_nor_how_long_it_waits() -> None:
    hidden, mine = like(EXAMPLE, id=9, tenant="billing"), like(EXAMPLE, id=7)
    message = shown(of_two_tenants(row(hidden, IDLE, "billing.salaries", 5_000.0), row(mine, IDLE, "shop.stock", 50.0)))
    for said in (message.text, text_of({"blocks": message.payload()})):
        assert "holds up 2 sessions (1 that you may not see), the longest for 50 s: row lock" in said
        assert "row lock on shop.stock" in said
        assert "salaries" not in said
    alone = shown(of_two_tenants(row(hidden, IDLE, "billing.salaries", 5_000.0)))
    assert "holds up 1 session that you may not see: row lock." in alone.text


def test_who_waits_and_may_not_be_seen_is_not_called_the_holder() -> None:
    hidden, mine = like(EXAMPLE, id=9, tenant="billing"), like(EXAMPLE, id=7)
    message = shown(of_two_tenants(row(hidden, None, None, 90.0), row(mine, hidden, None, 50.0)))
    assert "2 sessions (1 that you may not see) wait for a holder that is not named: row lock." in message.text


def test_a_button_for_several_means_the_tenants_of_what_it_counts_and_no_others() -> None:
    those = tuple(like(EXAMPLE, id=each, tenant=("shop", "billing")[each % 2]) for each in (10, 11))
    limit = Limit("max_connections", 9, 10)
    findings = (
        SameStatement(Statement.of("SELECT 1"), "d", those, ("10.0.0.1",)),
        CrowdingClient(limit, "10.0.0.1", 9, those[:1]),
    )
    blocks = {"blocks": shown(Result("prod", NOW, findings)).payload()}
    assert buttons_of(blocks) == ["Close these 2 Queries", "Close its idle one", "Refresh"]
    buttons = [one for _, one in elements_of(blocks) if "triage.close" in one["action_id"]]
    meant = [findings_view.Several.read(one["value"]).tenants for one in buttons]
    assert meant == [("billing", "shop"), ("shop",)]
    assert findings_view.Several.read('["prod", "shop", "d", null]').tenants == ("shop",), (
        "as earlier versions wrote it"
    )
