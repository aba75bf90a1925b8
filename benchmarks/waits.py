"""/sessions locks and /sessions triage in the middle of an incident, beside their bare statements."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymysql
from pydantic import SecretStr

from benchmarks.bots import LOGIN_PASSWORD, ours
from benchmarks.crowd import PASSWORD, USERS
from benchmarks.measure import Contender, Samples, in_turns
from benchmarks.report import Line, Report, Table
from benchmarks.rivals import BareQueries, Program, mariadb_client
from benchmarks.slack import TimedSandbox
from benchmarks.stage import Scale, Stage
from bot.sessions.database import Connection
from bot.sessions.diagnosis.examination import Examination, Helpers
from bot.sessions.diagnosis.shared_read import FRESH
from bot.sessions.diagnosis.triage import Thresholds
from bot.sessions.dialect import Query
from bot.sessions.endpoint import Endpoint
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.waits.advice import advise
from bot.sessions.waits.case import Case
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.stage import RunningStatement

DEEPEST = 5
HEADS = 5
MOST_OF_BARE = 1.5
SELDOM = 8

HOW = (
    "{waiters} of {sessions} sessions wait for row locks, in chains of depth 1 to 5 behind {heads} idle holders. In "
    "turns; before each command 0.3 s pass, since a read is shared with whoever asks within 0.25 s of its start. “Bare "
    "statements” are those that the command itself sends, on one warm connection of PyMySQL, one after the other, and "
    "`mariadb -e` sends them in a new process. “Reached” is the answer's arrival at Slack, from its payload on."
)


class Chains:
    """Sessions that wait for each other for as long as the `with` block; each has a row of its own."""

    def __init__(self, database: EmbeddedServer) -> None:
        self._database = database
        self._opened: list[pymysql.Connection[Any]] = []
        self._statements: list[RunningStatement] = []
        self._rows = 0

    def grow_to(self, waiters: int) -> int:
        """Make so many wait, in chains of every depth, and wait until the server shows it; returns all sessions."""
        with self._database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS shop.chain")
            cursor.execute("CREATE TABLE shop.chain (id INT PRIMARY KEY, n INT)")
            values = ", ".join(f"({number}, 0)" for number in range(waiters + HEADS))
            cursor.execute(f"INSERT INTO shop.chain VALUES {values}")
        heads = [self._holder()[1] for _ in range(HEADS)]
        depth, chain = 0, 0
        above = heads[0]
        while len(self._statements) < waiters:
            if depth == 0:
                chain += 1
                depth, above = 1 + chain % DEEPEST, heads[chain % HEADS]
            connection, row = self._holder()
            self._statements.append(RunningStatement(connection, f"UPDATE shop.chain SET n = 2 WHERE id = {above}"))
            above, depth = row, depth - 1
        return len(self._opened)

    def _holder(self) -> tuple[pymysql.Connection[Any], int]:
        """Open a session that has locked a row of its own."""
        connection = self._database.connect(user=USERS[0], password=PASSWORD, database="shop")
        self._opened.append(connection)
        oceanbase = isinstance(self._database, EmbeddedOceanBase)
        patience = "ob_query_timeout = 7200000000" if oceanbase else "innodb_lock_wait_timeout = 7200"
        with connection.cursor() as cursor:
            cursor.execute(f"SET {patience}")
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE shop.chain SET n = 1 WHERE id = {self._rows}")
        self._rows += 1
        return connection, self._rows - 1

    def close(self) -> None:
        """Let all of them go."""
        with self._database.connect() as connection, connection.cursor() as cursor:
            for one in self._opened:
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(f"KILL {one.thread_id()}")  # type: ignore[no-untyped-call]  # so in PyMySQL's types
        for one in self._opened:
            with contextlib.suppress(pymysql.Error, OSError):
                one.close()


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table of one server."""
    chains = Chains(stage.database)
    with contextlib.ExitStack() as stack:
        stack.callback(chains.close)
        sessions = len(stage.crowd) + chains.grow_to(scale.waiters)
        source = _source(stage.database)
        stack.callback(source.close)
        _all_wait(source, scale.waiters)
        asked = {"locks": recorded(source.waits), "triage": recorded(Examination(source, None, *_looks()).run)}
        bare = BareQueries(stage.database)
        stack.callback(bare.close)
        slack = stack.enter_context(TimedSandbox())
        stack.enter_context(ours(slack, stage.database))
        contenders: dict[str, Contender] = {}
        arrivals: dict[str, list[float]] = {}
        programs: dict[str, Program] = {}
        for verb, statements in asked.items():
            arrived = arrivals.setdefault(verb, [])
            contenders[_shown(verb)] = Contender(_trip(slack, verb, arrived))
            contenders[_bare(verb)] = Contender(lambda statements=statements: bare.run(statements))  # type: ignore[misc]
            programs[_client(verb)] = mariadb_client(
                stage.database, ";".join(bare.as_text(statement) for statement in statements)
            )
            if not programs[_client(verb)].missing:
                contenders[_client(verb)] = Contender(programs[_client(verb)].run, SELDOM)
        found = in_turns(contenders, scale.waits_rounds)
        found |= {_reached(verb): Samples(arrived[1:]) for verb, arrived in arrivals.items()}
    lines = list(_lines(found, asked, programs))
    how = HOW.format(waiters=scale.waiters, sessions=f"{sessions:,}", heads=HEADS)
    report.add(Table(f"Who is to blame: {stage.name}, {sessions:,} sessions", how, lines))
    report.at_most(
        f"`/sessions locks` has reached Slack / its bare statements on {stage.name}, {scale.waiters} waiters",
        found[_reached("locks")].p50 / found[_bare("locks")].p50,
        MOST_OF_BARE,
        "x",
    )


def _looks() -> tuple[Thresholds, Helpers]:
    return Thresholds(), Helpers(advise=lambda graph, who: advise(Case.of(who, graph)))


def _source(database: EmbeddedServer) -> DataSource:
    endpoint = Endpoint("bench", database.host, database.port, "session_bot", SecretStr(LOGIN_PASSWORD))
    return DataSource(endpoint, DataSourceOptions())


def _all_wait(source: DataSource, waiters: int) -> None:
    deadline = time.monotonic() + 120
    while len(source.waits().waits) < waiters:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(source.waits().waits)} of {waiters} sessions wait")
        time.sleep(FRESH * 2)


def recorded(ask: Callable[[], object]) -> list[Query]:
    """Return the statements that something sends, once it knows the server."""
    time.sleep(FRESH * 2)
    ask()
    time.sleep(FRESH * 2)
    sent: list[Query] = []
    plain = Connection.rows

    def rows(connection: Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        found = plain(connection, sql, values)
        if not sql.startswith("SET "):  # what a server refuses is not among the bare ones either
            sent.append(Query(sql, tuple(values)))
        return found

    Connection.rows = rows  # type: ignore[method-assign,assignment]
    try:
        ask()
    finally:
        Connection.rows = plain  # type: ignore[method-assign]
    return sent


def _trip(slack: TimedSandbox, verb: str, arrived: list[float]) -> Callable[[], float]:
    def trip() -> float:
        time.sleep(FRESH * 1.2)
        answer = slack.trip(f"/sessions {verb}")
        if "holds up" not in str(answer.body):
            raise RuntimeError(f"not the whole answer: {answer.body}")
        arrived.append(answer.arrived)
        return answer.posted

    return trip


def _shown(verb: str) -> str:
    return f"`/sessions {verb}`, payload out → answer shown"


def _reached(verb: str) -> str:
    return f"`/sessions {verb}`, → answer has reached Slack"


def _bare(verb: str) -> str:
    return f"its bare statements ({verb}), warm PyMySQL connection"


def _client(verb: str) -> str:
    return f"`mariadb -e` with these ({verb}), new process"


def _lines(found: dict[str, Samples], asked: dict[str, list[Query]], programs: dict[str, Program]) -> Iterator[Line]:
    for verb, statements in asked.items():
        reached = found[_reached(verb)].p50
        yield Line(_shown(verb), found[_shown(verb)].columns())
        yield Line(_reached(verb), found[_reached(verb)].columns())
        for name in (_bare(verb), _client(verb)):
            if name in found:
                count = {"statements": len(statements)}
                yield Line(name, {**found[name].columns(), "reached / it": reached / found[name].p50, **count})
            else:
                yield Line(name, note=programs[name].missing)
