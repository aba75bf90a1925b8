"""docs/monitoring.md and the alert rules: each metric, label, status code and field of the log is the code's."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from bot.closing.model import Outcome
from bot.operations.metrics import (
    OUTCOMES,
    SLACK_METHODS,
    SLACK_OUTCOMES,
    SOURCE_ERRORS,
    STATUSES,
    Metrics,
    Standing,
)
from bot.operations.web_server import EVENTS, PAGES, Pages, Router
from bot.sessions.pool import PoolUse
from bot.slack.slack_errors import LABELS
from tests.support.documents import rows, section
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT

RULES = ROOT / "deploy" / "session-bot.rules.yml"
TOLD = {row[0].strip("`"): row for row in rows(section("monitoring.md", "2. Metrics"))[1:]}
VALUES = {
    ("session_bot_commands_total", "outcome"): OUTCOMES,
    ("session_bot_closes_total", "outcome"): tuple(one.value for one in Outcome),
    ("session_bot_data_source_errors_total", "error"): SOURCE_ERRORS,
    ("session_bot_slack_calls_total", "outcome"): SLACK_OUTCOMES,
    ("session_bot_slack_calls_total", "method"): (*SLACK_METHODS, "other"),
    ("session_bot_ack_seconds", "status"): STATUSES,
}


def families() -> list[Metric]:
    """Return all that /metrics shows, each with at least one series."""
    metrics = Metrics("1")
    metrics.stand(Standing(lambda: True, lambda: True, lambda: True, lambda: 1.0, lambda: 0, lambda: 0))
    metrics.read_out(lambda: 0, lambda: {"prod": PoolUse(0, 0, 0)})
    metrics.answers("/sessions")
    metrics.visits(["prod"])
    metrics.called("auth.test", "ratelimited")
    return list(text_string_to_metric_families(metrics.page()[1].decode()))


def name_of(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_every_metric_is_told_with_its_type_and_labels_and_no_other() -> None:
    shown = {}
    for family in families():
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        shown[name_of(family)] = (family.type, labels)
    told = {name: (row[1], set(re.findall(r"`(\w+)`", row[2]))) for name, row in TOLD.items()}
    assert told == shown


@pytest.mark.parametrize("name", ["session_bot_commands_total", "session_bot_closes_total"])
def test_the_values_of_a_label_are_told(name: str) -> None:
    for value in VALUES[name, "outcome"]:
        assert value in TOLD[name][3], value
    for error in SOURCE_ERRORS:
        assert error in TOLD["session_bot_data_source_errors_total"][3], error
    for outcome in SLACK_OUTCOMES:
        assert outcome in TOLD["session_bot_slack_calls_total"][3], outcome
    for word in re.findall(r"\((.*)\)", TOLD["session_bot_slack_errors_total"][3])[0].split(", "):
        assert word in LABELS, word


def test_every_path_answers_with_the_status_that_is_told() -> None:
    told: dict[tuple[str, str], set[str]] = {}
    for paths, methods, code, _when in rows(section("monitoring.md", "1. Paths and status codes"))[1:]:
        for path in re.findall(r"`(/\S+)`", paths) or [paths]:
            told.setdefault((path, methods), set()).add(code)
    ready = True
    pages = Pages(lambda: (ready, {}), dict, lambda: ("text/plain", b""))
    router = Router(pages, takes_events=True)

    def status(method: str, path: str) -> str:
        answered: list[str] = []

        def start(line: str, _headers: object) -> Callable[[bytes], object]:
            answered.append(line.split(" ", maxsplit=1)[0])
            return lambda _content: None

        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO()}
        router(environ, start)  # type: ignore[arg-type]  # Bolt and waitress give no more
        return answered[0]

    for path in PAGES:
        found = {status(method, path) for method in ("GET", "HEAD")}
        ready = False
        found |= {status(method, path) for method in ("GET", "HEAD")}
        ready = True
        assert found == told[path, "GET, HEAD"], path
        assert {status("POST", path)} == told["all of these", "any other"]
    assert status("POST", EVENTS) == "503"
    assert told[EVENTS, "POST"] == {"200", "400", "401", "503"}  # the others are seen in test_http_mode.py
    assert {status("GET", EVENTS)} == told[EVENTS, "any other"]
    assert {status("GET", "/"), status("POST", "/")} == told["any other", "any"]


def _logged() -> Iterator[str]:
    """Yield the names of fields that the code gives its lines."""
    for folder in ("bot", "commands"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
                    continue
                called = ast.unparse(node.func)
                if called.startswith("log.") or called == "tell" or "contextvars" in called:
                    yield from (one.arg for one in node.keywords if one.arg is not None)


def _keys(name: str) -> Iterator[str]:
    """Yield the names that a file of the bot's writes into dictionaries."""
    for node in ast.walk(ast.parse((ROOT / "bot" / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            yield from (str(key.value) for key in node.keys if isinstance(key, ast.Constant))
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield from [node.slice.value] if isinstance(node.slice.value, str) else []


def test_every_field_of_the_log_is_told_and_no_other() -> None:
    table = rows(section("monitoring.md", "3. The log"))[1:]
    told = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}
    of_acts = {*_keys("operations/closing_log.py"), "server", "session", "tenant"} - {"id"}
    of_answers = {*_keys("slack/delivery/error_net.py")} - {"command", "actions", "action_id", "view", "callback_id"}
    of_answers -= {"type", "text"}
    of_lines = {"event", "level", "timestamp", "logger", "exception"}
    assert told == {*_logged(), *of_acts, *of_answers, *of_lines} - {"exc_info", "terminal"}


def test_every_act_of_the_record_is_told() -> None:
    text = section("monitoring.md", "3. The log")
    events: set[str] = set()
    for path in (ROOT / "bot" / "closing").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("append", "append_for", ".note")):
                events |= {str(one.value) for one in node.args if isinstance(one, ast.Constant) and one.value}
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("CALLED", "EXTENDED", "FORGET"):
                assert isinstance(node.value, ast.Constant)
                events.add(str(node.value.value))
    assert len(events) > 12
    for event in events - {"check"}:  # which is rolled back
        assert f"`{event}`" in text, event


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert set(group) == {"name", "rules"}
    return list(group["rules"])


def test_the_alert_rules_ask_for_metrics_labels_and_values_that_there_are() -> None:
    names = {one.name for family in families() for one in family.samples} | {"up"}
    labels = {name_of(family): {label for one in family.samples for label in one.labels} for family in families()}
    assert len({rule["alert"] for rule in rules()}) == len(rules()) > 8
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "action"}
        asked = re.findall(r"\b((?:session_bot|process)_\w+|up)\b(?:\{(.*?)\})?", rule["expr"])
        assert asked
        for name, chosen in asked:
            assert name in names, name
            family = re.sub(r"_(bucket|count|sum)$", "", name)
            for label, pattern in re.findall(r'(\w+)[!=]~?"(.*?)"', chosen):
                assert label == "job" or label in labels[family], label
                for value in pattern.split("|") if label != "job" else ():
                    assert value in VALUES[family, label], value
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), "it is among the labels that are left"


def test_promtool_takes_the_alert_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        return  # the test above looks at what can be looked at without
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
