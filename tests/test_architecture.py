"""docs/architecture.md: the rooms, the table of imports and the ways are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.documents import blocks, rows, section
from tests.support.running_bot import ROOT
from tests.test_layers import MAY

ROOMS = section("architecture.md", "1. Rooms")
WAYS = [
    stay
    for title in ("4. The way of `/sessions active-only`", "5. The way of a close", "6. The way of `/sessions locks`")
    for stay in re.findall(r"^\d+\. .*(?:\n   .*)*", section("architecture.md", title), re.MULTILINE)
]


def drawn(folder: str) -> set[str]:
    """Name what the tree draws in a folder; folders with a slash behind them."""
    (tree,) = blocks(ROOMS)
    inside = re.search(rf"^{folder}/.*\n((?:  \S.*\n)+)", tree, re.MULTILINE)
    assert inside is not None, f"the tree has no {folder}/"
    return {line.split()[0] for line in inside[1].splitlines()}


def there(folder: str) -> set[str]:
    """Name what is in a folder of Python files, as the tree draws it."""
    found = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    return found | {f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")}


def test_the_tree_draws_the_rooms_that_are_there() -> None:
    assert drawn("bot") == there("bot")
    (tree,) = blocks(ROOMS)
    for name in re.findall(r"^(\w+)/", tree, re.MULTILINE):
        assert (ROOT / name).is_dir(), name
    assert {name for name in there("sandbox") if name.endswith("/")} == drawn("sandbox")


def test_the_table_of_imports_is_the_one_that_the_layers_are_held_to() -> None:
    table = rows(section("architecture.md", "2. Who may import whom"))[1:]
    named = {f"bot.{name}" if f"bot.{name}" in MAY else name: name for row in table for name in _quoted(row[1])}
    assert set(named) <= set(MAY), "a layer that is named is one that is held to something"
    told = {row[0].strip("`"): {f"bot.{name}" for name in _quoted(row[1])} for row in table}
    assert told == {layer: may for layer, may in MAY.items() if layer != "bot"}


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def test_the_ways_are_read() -> None:
    assert len(WAYS) > 55


@pytest.mark.parametrize("stay", WAYS, ids=lambda stay: " ".join(_quoted(stay)[:1]) or stay[:40])
def test_a_function_on_the_way_is_where_the_way_says(stay: str) -> None:
    stay = re.sub(r"\s+", " ", stay)
    found = re.match(r"\d+\. `([\w/]+\.py)` ((?:`[\w.]+`(?:, )?)+):", stay)
    assert found is not None, stay
    defined = set(_defined(ROOT / found[1]))
    for name in _quoted(found[2]):
        assert name in defined, f"{found[1]} has no {name}"


def _defined(path: Path) -> list[str]:
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.append(node.name)
        elif isinstance(node, ast.ClassDef):
            found += [f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)]
    return found
