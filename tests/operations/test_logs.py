"""A hostile text in the log is one line, in JSON and at a terminal, from us and from the libraries."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given, settings

from bot.operations import logs
from tests.support.hostile import PIECES, SECRET, texts

FORGED = '\n2026-11-21T03:00:00Z [info     ] ready\r{"event": "ready"}\u2028\x85\x0b\x0c\x1c\x1b[2K\x1b[1A'


class Written(io.StringIO):
    """Standard error, as a terminal or as a file."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def lines(self) -> list[str]:
        """What was written, cut where a file or a terminal begins a new line or moves the cursor to another."""
        return [line for line in re.split(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", self.getvalue()) if line]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put the logs of the tests' own process back."""
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


def written(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> Written:
    stream = Written(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.set_up()
    return stream


def fail(text: str) -> None:
    """Fail while a password is in a local variable."""
    password = SECRET
    assert password
    raise ValueError(text)


@pytest.mark.parametrize("terminal", [True, False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_three_events_are_three_lines_whatever_stands_in_them(terminal: bool, text: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        stream = written(monkeypatch, terminal=terminal)
        log = structlog.get_logger()
        with structlog.contextvars.bound_contextvars(user=text):
            log.warning("refused", error=text, names=[text, {"name": text}], sentence=f"a {text}", why=ValueError(text))
            logging.getLogger("bolt").warning("unhandled: %s", text)
            logging.getLogger("slack_sdk").error(text, extra={"payload": text})
    assert len(stream.lines) == 3
    shown = [re.sub(r"\x1b\[\d+m", "", line) for line in stream.lines]  # colours of our own
    assert not [sign for line in shown for sign in line if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if not terminal:
        assert [json.loads(line)["level"] for line in stream.lines] == ["warning", "warning", "error"]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("text", [FORGED, *PIECES])
def test_no_forged_event_comes_out_of_an_exception(text: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, terminal=terminal)
    try:
        fail(text + FORGED)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("bolt").exception("failed, too")
    where = [line for line in stream.lines if line.startswith("ValueError at ")]  # a line of its own at a terminal
    assert len(stream.lines) - len(where) == 2
    assert len(where) == (2 if terminal else 0)
    assert stream.getvalue().count("ValueError at ") == 2
    assert "ready" not in stream.getvalue()
    assert SECRET not in stream.getvalue(), "no local variable is shown"
