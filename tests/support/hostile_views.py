"""Every view of the bot, filled with hostile texts wherever a text of somebody else's can stand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

from bot.access import Person, Right, Rule, Scope
from bot.closing.audit_query import AuditRecord
from bot.closing.model import ApprovalPolicy, ClosingRequest, Extension, Outcome, State, Target, Untouched
from bot.closing.store.audit_log import Entry
from bot.errors import BudgetError, InputError, NotAllowedError, RequestError, SourceOpenError, TargetError
from bot.sessions.deadlocks import Deadlock, Deadlocks, Member
from bot.sessions.details import Reach, SessionDetails
from bot.sessions.diagnosis import triage as triages
from bot.sessions.diagnosis.examination import Result
from bot.sessions.diagnosis.survey import Limit, RecentDeadlocks
from bot.sessions.diagnosis.triage import Thresholds
from bot.sessions.model import LastStatement, Mode, Session, SessionPage, SessionQuery, Transaction, WaitKind
from bot.sessions.source_health import SourceHealth
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.statistics import Group, Grouping, Statistics
from bot.sessions.transactions import OpenTransaction, Transactions
from bot.sessions.variables import Variable, Variables
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.blockages import blockages
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import describe, parse
from bot.slack.delivery.message import Message
from bot.slack.session_reference import Asker, SessionReference
from bot.slack.views import (
    audit,
    closing_card,
    closing_modal,
    deadlocks,
    help,  # noqa: A004  # the view is called like the verb
    home,
    locks,
    notices,
    session_details,
    session_list,
    sources,
    sql_modal,
    statistics,
    transactions,
    triage,
    triage_findings,
    variables,
)
from tests.sessions.examples import EXAMPLE
from tests.support.harmless import ASKER, CHANNEL, DECIDER, GROUP
from tests.support.hostile import Texts
from tests.support.sessions import like

Shown = Message | dict[str, Any]

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
_ASKER = Asker(Person(ASKER, "T1"), "all")
_TARGETS = (1, 1, 1, 2, 5, 6, 20, 50)


class Views:
    """Makes views from a source of hostile texts; `every` goes through all kinds of them, round after round."""

    def __init__(self, texts: Texts, seed: int = 0) -> None:
        self._texts = texts
        self._random = random.Random(seed)
        self._full = cycle(Disclosure)

    def every(self) -> Iterator[tuple[str, Shown | Exception]]:
        """Yield views with their names, endlessly, or what kept one from being made."""
        kinds = (
            self.session_lists,
            self.details,
            self.locks,
            self.transactions,
            self.triages,
            self.cards,
            self.statistics,
            self.variables,
            self.deadlocks,
            self.sources,
            self.homes,
            self.notices,
            self.modals,
            self.audits,
        )
        for kind in cycle(kinds):
            try:
                for shown in kind():
                    yield kind.__name__, shown
            except Exception as error:  # noqa: BLE001  # any of them would leave a person without an answer
                yield kind.__name__, error

    def session_lists(self) -> Iterator[Shown]:
        """Lists of a page, as tables and as texts, and an empty one."""
        count = self._random.choice((0, 1, 3, 20, 50))
        sessions = tuple(self._session() for _ in range(count))
        page = SessionPage(
            self._source(),
            sessions,
            10**6,
            10**6,
            10**6,
            NOW,
            self._query(text=self._random.random() < 0.3),
            self._several(3),
        )
        yield session_list.session_list(page, self._notes(), disclosure=next(self._full), asker=_ASKER)

    def details(self) -> Iterator[Shown]:
        """Cards of one session and what stands in their place."""
        session, holder = self._session(), replace(self._session(), id=1)
        waits = [*self._waits(30), Wait(session, holder, self._random.choice(list(WaitKind)), "", 1e9)]
        waits += [replace(one, holder=session) for one in waits[:-1:2]]
        advice = Advice(self._random.choice(list(Action)), self._texts.text(), (), self._texts.text())
        waiting = session_details.Waiting(WaitGraph(self._source(), NOW, tuple(waits)), advice)
        found = SessionDetails(session, 1e9, 2**62, caveats=self._several(3))
        full = next(self._full)
        yield session_details.session_details(found, NOW, self._notes(), disclosure=full, waiting=waiting, asker=_ASKER)
        yield session_details.gone(SessionReference.of(session), NOW, reused=True)
        yield session_details.several([session, holder])

    def locks(self) -> Iterator[Shown]:
        """Waits of any number, with every kind of holder, with advice of all kinds and for who may not see all."""
        waits = list(self._waits(self._random.choice((0, 1, 8, 60))))
        graph = WaitGraph(self._source(), NOW, tuple(waits), 3, self._several(3))
        tenants = self._random.choice((None, frozenset({waits[0].waiter.tenant or ""}) if waits else None))
        advice = tuple(
            locks.Advised(one, Advice(self._random.choice(list(Action)), self._texts.text(), (), self._texts.text()))
            for one in blockages(graph)[: locks.MOST]
        )
        words = f"on=prod tenant={self._texts.some(1_000)}"
        found = locks.Locks(graph, tenants, words, advice, 7, locks.Open(10**6, 1e9, more=True), self._texts.text())
        yield locks.locks(found, self._notes(), disclosure=next(self._full), asker=_ASKER)

    def transactions(self) -> Iterator[Shown]:
        """Open transactions of any number, with and without sessions, as tables and as texts."""
        waits = list(self._waits(self._random.choice((0, 8))))
        graph = WaitGraph(self._source(), NOW, tuple(waits))
        of = Transaction(2**63, self._texts.text(), age=1e9, rows_changed=2**40)
        last = LastStatement(Statement.of(self._texts.sql()), 1e6)
        rows = [
            OpenTransaction(replace(self._session(), transaction=of, last_statement=last), of, self._texts.text())
            for _ in range(self._random.choice((0, 1, 20, 48)))
        ]
        xid = self._texts.text()
        rows += [OpenTransaction(Prepared(of, xid, xid), of, xid), OpenTransaction(None, of, xid, 2**31)][: len(rows)]
        found = Transactions(self._source(), NOW, tuple(rows) * 3, more=True, caveats=self._several(3))
        shown = transactions.Page(
            found,
            tuple(rows),
            10**6 * bool(rows),
            2,
            max(1, len(rows)),
            self._random.choice((None, graph)),
            {number: f"source=prod {describe(self._query(text=False))} page={number}" for number in (1, 2, 3)},
            as_text=self._random.random() < 0.3,
        )
        yield transactions.transactions(shown, self._notes(), disclosure=next(self._full), asker=_ASKER)

    def triages(self) -> Iterator[Shown]:
        """Findings of every kind, few or more than a message takes, of one data source or of many."""
        results = [self._result() for _ in range(self._random.choice((1, 1, 3, 20)))]
        full = next(self._full)
        shown = triage_findings.Shown(
            lambda _source: full, lambda _source: 20, Thresholds(), asker=_ASKER, notes=self._notes()
        )
        yield triage.triage(results, shown)

    def _result(self) -> Result:
        text = self._texts.text
        graph = WaitGraph(self._source(), NOW, tuple(self._waits(self._random.choice((0, 3, 30)))))
        advice = Advice(self._random.choice(list(Action)), text(), (), text())
        some = self._random.choice((None, advice))
        session = self._session()
        statement = Statement.of(self._texts.sql())
        user, tenant = (self._random.choice((None, text())) for _ in range(2))
        limit = Limit(text(), 10**6, 10**6, user, tenant, text())
        findings: tuple[triages.Finding, ...] = (
            *(triages.Candidates((one,) * 9, 3) for one in blockages(graph)[:2]),
            *(triages.Blocker(one, some, 3) for one in blockages(graph)),
            triages.LongStatement(session, some),
            triages.SameStatement(statement, "a" * 32, (session,) * 99, (text(),), past=text()),
            triages.NearLimit(limit),
            triages.CrowdingClient(limit, text(), 99, (session,) * 99),
            triages.Killed(session, some),
            triages.Returned(session, text()),
            RecentDeadlocks(self._random.choice((None, 7)), 1e4),
            triages.AbsentServers(((text(), text()),) * 9),
            triages.IdleTransactions((session,) * 99),
            triages.More(7, "more hold up others", "/sessions locks"),
        )
        return Result(
            self._source(),
            NOW,
            self._random.choice((findings, (), findings * 3)),
            tuple(triages.Check),
            ((triages.Check.WAITS, text()),) * 3,
            self._several(3),
            self._random.choice(("", text())),
            self._random.random() < 0.3,
            10**4,
            (session,) * 3,
            (OpenTransaction(session, Transaction(5, text(), age=1e6)), OpenTransaction(None, Transaction(6, text()))),
            9,
        )

    def _waits(self, count: int) -> Iterator[Wait]:
        sessions: list[Session] = []
        text = self._texts.text
        for number in range(count):
            last = LastStatement(Statement.of(self._texts.sql()), 1e6) if self._random.random() < 0.5 else None
            waiter = replace(self._session(), id=number + 2, doing=text(), last_statement=last)
            prepared = Prepared(Transaction(2**63, text(), age=1e9), text(), text())
            holders = [prepared, None, replace(waiter, id=number + 1000), *sessions[-5:] * 3, waiter]
            holder = self._random.choice(holders)
            kind = self._random.choice(list(WaitKind))
            candidate = self._random.random() < 0.3
            yield Wait(waiter, holder, kind, text(), 1e6, self._random.choice((None, text())), candidate=candidate)
            sessions.append(waiter)

    def cards(self) -> Iterator[Shown]:
        """Closing cards of any number of targets in every state."""
        asked = self._request(self._random.choice(_TARGETS))
        full = next(self._full)
        yield closing_card.closing_card(
            asked, disclosure=full, approvers=[ASKER, GROUP], break_glass=True, note=self._texts.text()
        )
        yield closing_card.broken_glass(asked, [ASKER, GROUP])
        extension = Extension(asked.source, Person(DECIDER, "T1"), 50, 100, "10 min", added=True)
        yield closing_card.budget_extended(extension)
        yield closing_card.call_over(asked)
        yield closing_card.closing_progress(asked, self._texts.text(), disclosure=full)
        for state in (State.CLAIMED, State.CANCELLED, State.EXPIRED):
            yield closing_card.closing_result(replace(asked, state=state), disclosure=full)
        yield closing_card.closing_result(self._done(asked), disclosure=full)

    def statistics(self) -> Iterator[Shown]:
        """Statistics by anything."""
        by = self._random.choice(list(Grouping))
        groups = tuple(
            Group(
                self._texts.text(),
                3,
                10**6,
                0.1,
                75.4,
                86_400.0,
                Statement.of(self._texts.sql()) if by is Grouping.SQL_ID else None,
            )
            for _ in range(self._random.choice((0, 1, 15)))
        )
        query = self._query(text=self._random.random() < 0.3)
        found = Statistics(self._source(), query, by, 9, 3, 75.4, groups, 99, NOW, self._several(3))
        yield statistics.statistics(found, self._notes(), disclosure=next(self._full), asker=_ASKER)

    def variables(self) -> Iterator[Shown]:
        """Variables with any names and values."""
        some = tuple(
            Variable(self._texts.text(), self._texts.told(), self._random.choice(("", "s", "µs", "bytes")), "")
            for _ in range(self._random.choice((0, 5, 40)))
        )
        found = Variables(
            self._source(),
            self._random.random() < 0.5,
            self._texts.text(),
            some,
            99,
            NOW,
            self._random.choice((None, self._texts.text())),
            instead=self._random.random() < 0.5,
        )
        yield variables.variables(found, self._notes())

    def deadlocks(self) -> Iterator[Shown]:
        """Deadlocks between transactions of anybody."""
        events = tuple(
            Deadlock(
                self._texts.text(),
                NOW,
                self._texts.text(),
                tuple(
                    Member(number, self._texts.text(), number == 1, self._texts.told(), Statement.of(self._texts.sql()))
                    for number in (1, 2, 3)
                ),
            )
            for _ in range(self._random.choice((0, 1, 10)))
        )
        found = Deadlocks(self._source(), timedelta(days=1), events, 3, self._random.choice((True, False, None)), NOW)
        yield deadlocks.deadlocks(found, self._notes(), disclosure=next(self._full))

    def sources(self) -> Iterator[Shown]:
        """Data sources that answer and that do not."""
        yield sources.sources([self._health() for _ in range(self._random.choice((1, 8, 40)))], NOW)

    def homes(self) -> Iterator[Shown]:
        """The Home tab and what stands in its place."""
        rules = [
            Rule(
                frozenset({ASKER}),
                frozenset(Right),
                frozenset(self._several(12)),
                frozenset(self._several(12)),
                frozenset({CHANNEL}),
            )
            for _ in range(12)
        ]
        closed = [self._done(self._request(count)) for count in (1, 2, 7)]
        health, asked = [self._health() for _ in range(3)], [self._request(1), self._request(2)]
        yield from home.home(rules, health, asked, closed, NOW).views()

    def notices(self) -> Iterator[Shown]:
        """Errors, questions, help."""
        text, typed = self._texts.text, self._texts.some(4_000)
        yield notices.notice(f"Because of {text()}")
        yield notices.failure(TargetError(f"Because of {text()}"), "abcd1234", typed)
        wrong = InputError(f"What is {text()}?", spot=typed[3:30], example=text())
        yield notices.failure(wrong, "abcd1234", typed)
        late = RequestError(f"Because of {text()}", first=DECIDER)
        yield notices.failure(late, "abcd1234", typed)
        yield notices.failure(NotAllowedError(f"Because of {text()}", who=[DECIDER, GROUP]), "abcd1234", typed)
        yield notices.budget(BudgetError(f"Because of {text()}", source=self._source()), "17", [DECIDER, GROUP])
        choices = [self._source() for _ in range(30)]
        unclear = SourceOpenError(f"Which of {text()}?", choices=choices, example=text())
        yield notices.which_source(unclear, self._texts.some(1_000))
        topic = help.Topic("/sessions", "List sessions", [("/sessions", "all")])
        scopes = {right: Scope(frozenset(self._several(3))) for right in Right}
        yield help.help_page([topic], [help.Allowance(name, scopes) for name in choices])

    def modals(self) -> Iterator[Shown]:
        """The whole statement, and the dialogs."""
        session = self._session()
        for disclosure in Disclosure:
            yield sql_modal.statement(session, sql_modal.SqlText.of(session, disclosure))
        yield sql_modal.problem(session.id, self._texts.text())
        asked = self._request(self._random.choice(_TARGETS))
        metadata = {"request": self._texts.some(40), "channel": CHANNEL}
        present = {one.number: self._session() for one in asked.targets if self._random.random() < 0.7}
        for mode in Mode:
            yield closing_modal.looking(mode)
            yield closing_modal.as_it_is_now(asked, present, mode, metadata, disclosure=next(self._full))
        yield closing_modal.ask_reason(asked, 60.0, metadata)
        yield closing_modal.problem(Mode.QUERY, self._texts.text())

    def audits(self) -> Iterator[Shown]:
        """The record of anything, and a timeline of it."""
        told = [self._told() for _ in range(self._random.choice((0, 3, 60)))]
        alone = [replace(self._done(self._request(1)), alone_from=NOW, decided_by=Person(ASKER, "T1"))] * 3
        yield audit.audit(told, self._texts.some(500), NOW, alone)
        yield audit.timeline_message(audit.timeline(told[:3], NOW, NOW, lambda _id: self._texts.text()), sent=False)

    def _told(self) -> AuditRecord:
        text = self._texts.some
        session = {"id": 5, "user": text(64), "origin": text(64), "tenant": text(64)}
        details: dict[str, Any] = {
            "mode": "Close Session",
            "targets": [session] * 3,
            "reason": text(1_000),
            "override": text(100),
            "outcome": "closed",
            "detail": text(300),
            "why": text(300),
            "sql": text(100),
            "id": 5,
            "closes": 5,
        }
        event = self._random.choice(("request", "outcome", "refused", "intent", "break glass", "review", text(20)))
        entry = Entry(1, NOW, event, Person(ASKER, "T1"), CHANNEL, self._source(), "request-id", details, "hash")
        return AuditRecord(entry, self._request(1))

    def _several(self, most: int) -> tuple[str, ...]:
        return tuple(islice(iter(self._texts.text, None), most))

    def _notes(self) -> list[str]:
        return [f"“{self._texts.some(1_000)}” is looked for." for _ in range(self._random.choice((0, 2, 30)))]

    def _source(self) -> str:
        return self._texts.some(40)  # as settings.Name has it

    def _session(self) -> Session:
        text, told = self._texts.text, self._texts.told
        return like(
            EXAMPLE,
            source=self._source(),
            server=self._texts.some(52),
            id=self._random.randrange(2, 2**32),
            tenant=text(),
            user=text(),
            peer=text(),
            origin=text(),
            database=text(),
            command=text(),
            state=text(),
            doing=self._random.choice((None, text(), f"Waiting for {text()} lock")),
            time=self._random.random() * 1e6,
            statement=Statement.of(
                self._texts.sql(),
                sql_id=text(),
                inner=self._texts.sql() if self._random.random() < 0.3 else None,
            ),
            trace_id=text(),
            transaction_state=text(),
            proxy=text(),
            proxy_session_id=2**63,
            module=told(),
            action=told(),
            client_info=told(),
            retry_info=self._random.choice((0, -6005)),
            retry_count=3,
            memory=2**40,
        )

    def _query(self, *, text: bool) -> SessionQuery:
        """Ask for what somebody typed, where it can be understood."""
        key = self._random.choice(("user", "db", "sql", "tenant", "host", "sql-id", "any"))
        said = self._texts.some(900)
        for typed in (f'{key}="{said}"', f"{key}='{said}'", f"{key}={said}", said):
            with suppress(InputError):
                return replace(parse(normalize(typed)).query, text=text, source=self._source())
        return SessionQuery(source=self._source(), text=text)

    def _request(self, count: int) -> ClosingRequest:
        targets = tuple(Target(number, self._session()) for number in range(1, count + 1))
        left = tuple(Untouched(number, self._texts.some(52), self._texts.text()) for number in range(2, 6))
        return ClosingRequest(
            "request-id",
            self._source(),
            self._random.choice(list(Mode)),
            Person(ASKER, "T1"),
            CHANNEL,
            self._texts.some(1_000),
            self._random.choice(list(ApprovalPolicy)),
            NOW,
            NOW + timedelta(minutes=2),
            targets,
            left,
            describe(self._query(text=False)),
            999,
            override=(self._texts.some(300),) if count == 1 else (),
        )

    def _done(self, asked: ClosingRequest) -> ClosingRequest:
        targets = tuple(
            replace(one, outcome=self._random.choice(list(Outcome)), detail=self._texts.text(), outcome_at=NOW)
            for one in asked.targets
        )
        return replace(
            asked,
            targets=targets,
            state=State.DONE,
            decided_by=Person(DECIDER, "T1"),
            decided_at=NOW,
            decided_mode=self._random.choice(list(Mode)),
        )

    def _health(self) -> SourceHealth:
        if self._random.random() < 0.3:
            return SourceHealth(self._source(), self._texts.text())
        kind, view, tenant = self._several(3)
        return SourceHealth(
            self._source(),
            "",
            1e6,
            kind,
            view,
            tenant,
            Reach.TENANT,
            Reach.OWN,
            10**9,
            10**9,
            self._several(3),
        )
