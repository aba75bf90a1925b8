"""Who may import whom (docs/architecture.md 2), and that nothing is built or read at import time."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"bot", "commands", "sandbox"}
MODELS = {"bot.errors", "bot.access", "bot.sessions", "bot.closing", "bot.slack"}
MAY = {
    "bot": set(),
    "bot.errors": set(),
    "bot.access": {"bot.errors"},
    "bot.sessions": {"bot.errors"},
    "bot.closing": {"bot.errors", "bot.access", "bot.sessions"},
    "bot.slack": MODELS - {"bot.slack"},
    "bot.listeners": MODELS,
    "commands": MODELS,
    "bot.workers": {"bot.errors"},
    "bot.settings": MODELS,
    "bot.operations": MODELS | {"bot.settings"},
    "bot.app": MODELS | {"bot.workers"},
    "sandbox": set(),
}
EVERYTHING = ("bot.wiring", "bot.__main__")
BLOCKS = "bot.slack.views.blocks"
FILES = sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))
BUILDS = {"open", "connect", "create_engine", "App", "WebClient", "getenv", "load", "Settings", "read_text"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "bot" else parts[0]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            submodules = (ROOT / Path(*(node.module or "").split("."))).is_dir()
            yield from (f"{node.module}.{alias.name}" if submodules else str(node.module) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_layer_imports_only_what_it_may(path: Path) -> None:
    module = module_of(path)
    if module in EVERYTHING:
        return
    layer = layer_of(module)
    for name in imported_by(path):
        if name.split(".")[0] not in OURS:
            continue
        imported = layer_of(name)
        another = layer in ("commands", "bot.listeners") and name not in (layer, module)
        assert (imported == layer and not another) or imported in MAY[layer], f"{module} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_wiring_alone_imports_commands_and_listeners(path: Path) -> None:
    layers = {layer_of(name) for name in imported_by(path)}
    if module_of(path) != "bot.wiring":
        assert not (layers & {"commands", "bot.listeners"}) - {layer_of(module_of(path))}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_drivers_and_platforms_are_known_in_one_place_each(path: Path) -> None:
    module, roots = module_of(path), {name.split(".")[0] for name in imported_by(path)}
    if not module.startswith("sandbox"):
        assert "pymysql" not in roots or module == "bot.sessions.database"
    if layer_of(module) in ("bot.sessions", "bot.closing", "bot.access", "bot.errors"):
        assert not {root for root in roots if root.startswith("slack")}
    assert "prometheus_client" not in roots or module == "bot.operations.metrics"
    assert "waitress" not in roots or module == "bot.operations.web_server"


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path).split(".")[0] != "sandbox"], ids=module_of)
def test_block_kit_is_built_by_the_views_alone(path: Path) -> None:
    module = module_of(path)
    if not module.startswith("bot.slack.views") and module != "bot.slack.delivery.message":
        assert BLOCKS not in set(imported_by(path))
    for node in ast.walk(parsed(path)):
        pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
        for key, value in pairs:
            if isinstance(key, ast.Constant) and key.value == "type" and isinstance(value, ast.Constant):
                assert module == BLOCKS, f"{module}:{value.lineno} writes {value.value!r} by hand"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_the_sessions_and_the_closing_see_more_of_a_statement_than_is_shown(path: Path) -> None:
    if layer_of(module_of(path)) in ("bot.sessions", "bot.closing"):
        return
    for node in ast.walk(parsed(path)):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        assert name not in ("raw_sql", "raw_sql_id", "RawSql"), f"{module_of(path)} reads a statement itself"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_opened_connected_or_read_at_import(path: Path) -> None:
    tree = parsed(path)
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in BUILDS, f"{module_of(path)}:{node.lineno} calls {called} at import"
            assert not (isinstance(node, ast.Attribute) and node.attr == "environ"), "the environment at import"
