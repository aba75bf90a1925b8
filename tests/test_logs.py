"""A hostile text in the log is one line, in JSON and at a terminal, from us and from the libraries."""

from __future__ import annotations

import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given, settings

from bot import logs
from tests.hostile import PIECES, SECRET, texts

FORGED = '\n2026-11-21T03:00:00Z [info     ] ready\r{"event": "ready"}\u2028\x85\x0b\x0c\x1c\x1b[2K\x1b[1A'


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put the logs of the tests' own process back."""
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


def fail(text: str) -> None:
    """Fail while a password is in a local variable."""
    password = SECRET
    assert password
    raise ValueError(text)


def logged(text: str, *, terminal: bool) -> list[str]:
    """Log an event with a text in every place a text can have; return the lines that came of it."""
    stream = io.StringIO()
    logs.setup(stream, terminal=terminal)
    log = structlog.get_logger()
    with structlog.contextvars.bound_contextvars(user=text):
        log.warning("refused", error=text, names=[text, {"name": text}], sentence=f"a {text}", reason=ValueError(text))
        logging.getLogger("bolt").warning("unhandled: %s", text)
        logging.getLogger("slack_sdk").error(text, extra={"payload": text})
    return _lines(stream)


def _lines(stream: io.StringIO) -> list[str]:
    # A terminal goes to a new line, or back over one, for more signs than a file has line breaks.
    return [line for line in re.split(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", stream.getvalue()) if line]


@pytest.mark.parametrize("terminal", [True, False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_three_events_are_three_lines_whatever_stands_in_them(terminal: bool, text: str) -> None:
    lines = logged(text, terminal=terminal)
    assert len(lines) == 3
    shown = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]  # colours of our own
    assert not [sign for line in shown for sign in line if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if not terminal:
        assert json.loads(lines[0])["error"] == text
        assert json.loads(lines[1])["event"] == f"unhandled: {text}"
        assert json.loads(lines[1])["user"] == text


@pytest.mark.parametrize("text", [FORGED, *PIECES])
def test_no_forged_line_comes_out_of_an_exception_at_a_terminal(text: str) -> None:
    stream = io.StringIO()
    logs.setup(stream, terminal=True)
    try:
        fail(text + FORGED)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("bolt").exception("failed, too")
    lines = _lines(stream)
    events = [line for line in lines if not line.startswith("    | ")]
    assert len(events) == 2
    assert any(line.startswith("    | ValueError") for line in lines)
    assert SECRET not in stream.getvalue(), "no local variable is shown"


def test_an_exception_is_one_line_of_json_with_its_traceback() -> None:
    stream = io.StringIO()
    logs.setup(stream, terminal=False)
    try:
        fail(FORGED)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("bolt").exception("failed, too")
    lines = [json.loads(line) for line in _lines(stream)]
    assert [line["event"] for line in lines] == ["failed", "failed, too"]
    assert all(line["exception"].endswith(f"ValueError: {FORGED}") for line in lines)
