"""The record is sent on line by line: past rotations, full disks and files that are not there, and never silently."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from bot.access import Person
from bot.closing.store.audit_log import Entry, Recorded
from bot.operations import audit_stream, preflight
from bot.operations.audit_stream import AuditStream
from bot.operations.reports import Report, Verdict
from bot.settings import load
from tests.support.image import clean
from tests.support.patience import PATIENCE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_stream, "AGAIN", 0.02)


@pytest.fixture
def said() -> Iterator[list[dict[str, Any]]]:
    """Give what the log says."""
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]  # mutable mappings


def act(number: int, **details: Any) -> Recorded:
    at = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    return Recorded(Entry(number, at, "view sql", Person("U01ALICE", "T1"), "C01INC", "demo", None, details, "h"), None)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def numbers(file: Path) -> list[int]:
    return [json.loads(line)["number"] for line in file.read_text().splitlines()]


def test_a_line_has_who_did_what_and_statements_as_digests(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    stream = AuditStream(str(file))
    stream.send([act(1, sql="SELECT 4111 FROM cards WHERE pin = 'secret-pin'", hash="ab12", reason="two\nlines")])
    stream.close(PATIENCE)
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == {
        "at": "2026-11-21T03:00:00Z",
        "act": "view sql",
        "number": 1,
        "source": "demo",
        "channel": "C01INC",
        "user": "U01ALICE",
        "team": "T1",
        "details": {"sql": "SELECT ? FROM cards WHERE pin = ?", "reason": "two\nlines"},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_standard_output_is_a_stream_of_lines_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    stream = AuditStream("stdout")
    stream.send([act(1), act(2)])
    stream.close(PATIENCE)
    assert [json.loads(line)["number"] for line in capfd.readouterr().out.splitlines()] == [1, 2]


def test_a_file_that_was_moved_away_or_emptied_is_followed_and_no_line_is_lost(tmp_path: Path) -> None:
    file, moved = tmp_path / "audit.log", tmp_path / "audit.log.1"
    stream = AuditStream(str(file))
    stream.send([act(1), act(2)])
    until(lambda: stream.waiting == 0)
    file.rename(moved)
    stream.send([act(3)])
    until(lambda: stream.waiting == 0)
    assert (numbers(moved), numbers(file)) == ([1, 2], [3])
    os.truncate(file, 0)  # as logrotate's copytruncate does
    stream.send([act(4)])
    stream.close(PATIENCE)
    assert numbers(file) == [4]


def test_what_cannot_be_written_waits_is_told_once_and_written_in_order_later(
    tmp_path: Path, said: list[dict[str, Any]]
) -> None:
    file = tmp_path / "not-there" / "audit.log"
    stream = AuditStream(str(file))
    stream.send([act(1), act(2)])
    until(lambda: said)
    assert [(one["log_level"], one["event"]) for one in said] == [
        ("error", "audit log cannot be written, acts wait; the store has them")
    ]
    assert (said[0]["why"], stream.waiting) == ("No such file or directory", 2)
    file.parent.mkdir()
    stream.send([act(3)])
    stream.close(PATIENCE)
    assert numbers(file) == [1, 2, 3]
    assert said[1:] == [{"event": "audit log is written again", "log_level": "info", "waiting": said[1]["waiting"]}]
    assert stream.lost == 0


def test_a_line_that_a_full_disk_has_cut_off_is_written_anew_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.write, threading.Event()

    def writes(file: int, data: bytes) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, "")
        if len(data) > 20 and data.startswith(b"{"):
            full.set()
            return write(file, data[:20])
        return write(file, data)

    file = tmp_path / "audit.log"
    stream = AuditStream(str(file))
    monkeypatch.setattr(os, "write", writes)
    stream.send([act(1)])
    until(full.is_set)
    monkeypatch.setattr(os, "write", write)
    stream.close(PATIENCE)
    torn, whole = file.read_text().splitlines()
    assert len(torn) == 20
    assert json.loads(whole)["number"] == 1


def test_a_reader_that_hangs_keeps_nobody_waiting_and_what_is_left_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody reads it: to open it takes for ever
    monkeypatch.setattr(audit_stream, "MOST", 3)
    stream = AuditStream(str(pipe))
    stream.send([act(number) for number in range(1, 6)])
    assert (stream.waiting, stream.lost) == (3, 2)
    stream.close(0.05)
    assert [(one["event"], one["lost"]) for one in said] == [
        ("acts not sent on, too many wait; the store has them", 2),
        ("acts not sent on, the bot ends; the store has them", 3),
    ]
    assert (said[1]["first"], said[1]["last"]) == (1, 3)
    with pipe.open("rb", buffering=0) as reader:
        reader.read(1)
    stream._thread.join(PATIENCE)  # which finds out now that it is to end


def test_one_act_that_cannot_be_told_keeps_no_other_from_it(tmp_path: Path, said: list[dict[str, Any]]) -> None:
    file = tmp_path / "audit.log"
    stream = AuditStream(str(file))
    stream.send([act(1, targets=7), act(2)])
    stream.close(PATIENCE)
    assert numbers(file) == [2]
    assert (said[0]["event"], said[0]["number"], stream.lost) == ("act not sent on; the store has it", 1, 1)


def test_a_place_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path) -> None:
    assert audit_stream.unusable("stdout") == ""
    assert audit_stream.unusable(str(tmp_path / "audit.log")) == ""
    assert "is a folder; name a file" in audit_stream.unusable(str(tmp_path))
    assert "there is no folder" in audit_stream.unusable(str(tmp_path / "no" / "audit.log"))


def test_check_tells_where_acts_go_and_why_they_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean().keys():
        monkeypatch.delenv(name)
    config = tmp_path / "session-bot.toml"
    source = '[data_sources.prod]\nhost = "h"\nuser = "u"\n[[access]]\nwho = ["*"]\nmay = ["view"]\n'
    monkeypatch.setenv("SESSION_BOT_CONFIG", str(config))

    def said(place: Path) -> list[Report]:
        config.write_text(f'{source}[store]\naudit_log = "{place}"\n', encoding="utf-8")
        return preflight._audit_log(load())

    assert said(tmp_path / "a.log") == [
        (Verdict.WORKS, f"store.audit_log: each act is written to {tmp_path / 'a.log'}"),
    ]
    ((verdict, sentence),) = said(tmp_path / "no" / "a.log")
    assert (verdict, "acts cannot be sent on: there is no folder" in sentence) == (Verdict.FAILS, True)
    assert [one.name for one in tmp_path.iterdir()] == [config.name], "check makes nothing"
