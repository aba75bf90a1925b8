"""Every act that comes on record is told once, whoever finished it, with all that a line of the log needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from bot.closing.model import ClosingRequest, Outcome
from bot.closing.store import Store
from bot.closing.store.audit_log import Recorded
from bot.errors import StoreError
from bot.operations import closing_log
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, CHANNEL, Desk, record_of, tamper
from tests.closing.several import ask, confirm, outcomes, sleepers


class Told:
    """What a store has told, as the log has it."""

    def __init__(self, *stores: Store) -> None:
        self._acts: list[Recorded] = []
        for store in stores:
            store.database.recorded = self.add

    def add(self, acts: Sequence[Recorded]) -> None:
        self._acts += acts

    def lines(self, request: ClosingRequest | None = None) -> list[dict[str, Any]]:
        """Return the lines, of one request alone where one is named, without what does not apply."""
        found = [closing_log.fields(one) for one in self._acts]
        return [
            {name: value for name, value in line.items() if value is not None}
            for line in found
            if request is None or line["request"] == request.id
        ]

    def acts(self, request: ClosingRequest) -> list[str]:
        return [line["act"] for line in self.lines(request)]


def numbered(lines: Sequence[dict[str, Any]]) -> list[int]:
    return [line["number"] for line in lines]


def test_a_close_and_one_that_came_to_nothing_leave_lines_that_tell_them_apart(desk: Desk) -> None:
    told = Told(desk.store)
    good, other = sleepers(desk, 2)
    closed = ask(desk, good)
    assert outcomes(confirm(desk, closed)) == [Outcome.CLOSED]
    request = ask(desk, other)
    tamper(desk, request, 1, peer="127.0.0.1:1")
    assert outcomes(confirm(desk, request)) == [Outcome.CHANGED]
    lines = told.lines(closed)
    assert told.acts(closed) == ["request", "confirm", "intent", "outcome"]
    assert told.acts(request) == ["request", "confirm", "outcome"]
    (target,) = closed.targets
    for line in lines:
        named = (line["source"], line["server"], line["session"], line.get("tenant"), line["user"], line["requester"])
        assert named == ("demo", target.session.server, good, target.session.tenant, ALICE.id, ALICE.id)
        assert (line["mode"], line["channel"]) == (Mode.SESSION.value, CHANNEL)
    assert [line.get("finding") for line in lines] == [None, None, None, "closed"]
    assert [line["finding"] for line in told.lines(request) if line["act"] == "outcome"] == ["changed, not closed"]
    assert 0 < lines[-1]["seconds"] < 20
    assert numbered(told.lines()) == list(range(1, 8)), "each once, in order"


def test_what_another_process_finishes_and_what_ends_late_is_told_by_who_finds_it(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 2))
    target = request.targets[0]
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    desk.store.intents.intend(request, target, f"KILL {target.session.id}", desk.clock())
    closer = desk.restarted()
    told = Told(closer._store)
    (left,) = closer.resume()
    assert outcomes(left) == [Outcome.STILL_RUNNING, Outcome.NOT_SENT]
    with desk.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL {target.session.id}")
    desk.until(lambda: not desk.row(target.session.id))
    assert closer._follow_ups.verify()
    lines = told.lines(request)
    findings = [(line["act"], line["session"], line["finding"]) for line in lines]
    first, second = (one.session.id for one in request.targets)
    assert findings == [
        ("outcome", first, "still running"),
        ("outcome", second, "not sent"),
        ("later", first, "already gone"),
    ]
    for line in lines:
        assert (line["user"], line["mode"], line["seconds"] >= 0) == (ALICE.id, Mode.SESSION.value, True)


def test_a_request_for_several_sessions_names_them_all_in_its_line(desk: Desk) -> None:
    told = Told(desk.store)
    ids = sleepers(desk, 2)
    request = ask(desk, *ids)
    desk.cancel(request.id, ALICE)
    asked, cancelled = told.lines(request)
    for line in (asked, cancelled):
        assert [one["session"] for one in line["sessions"]] == ids
        assert "session" not in line
    assert cancelled["user"] == ALICE.id


def test_what_comes_to_nothing_is_not_told_and_what_was_doubtful_is_once_it_is_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(desk.store)
    request = ask(desk, *sleepers(desk, 1))
    assert told.acts(request) == ["request"]
    commit = Connection.commit

    def fails(_connection: Connection) -> None:
        raise OperationalError("COMMIT", {}, Exception("before it was there"))

    def answer_lost(connection: Connection) -> None:
        commit(connection)
        raise OperationalError("COMMIT", {}, Exception("after it was there"))

    for broken, stays in ((fails, False), (answer_lost, True)):
        before = len(record_of(desk, request))
        monkeypatch.setattr(Connection, "commit", broken)
        with pytest.raises(StoreError):
            desk.store.requests.note(desk.clock(), "refused", {"why": "a trial"}, person=ALICE, request=request)
        monkeypatch.setattr(Connection, "commit", commit)
        assert len(record_of(desk, request)) - before == stays
    assert told.acts(request) == ["request"]
    other = replace(request, id="x" * 22)
    desk.store.requests.note(desk.clock(), "refused", {"why": "a trial"}, person=ALICE, request=other)
    assert told.acts(request) == ["request", "refused"]
    assert numbered(told.lines()) == [1, 2, 3]
