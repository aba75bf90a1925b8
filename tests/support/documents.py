"""The documents, read: their tables, code blocks and the grants that they ask for."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.support.running_bot import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def document(name: str) -> str:
    """The text of a file in docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """What stands under a heading, up to the next of its rank or a higher one."""
    found = re.search(rf"^(#+) {re.escape(title)}$", document(name), re.MULTILINE)
    assert found is not None, f"docs/{name} has no section {title}"
    rest = document(name)[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def anchors(text: str) -> set[str]:
    """What links to the headings of a page end in."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of a language."""
    return [content for named, content in _FENCE.findall(text) if named == language]


def grants(title: str) -> list[str]:
    """The GRANT statements under a heading of docs/install.md, for the user `session_bot`, without their ends."""
    (block,) = blocks(section("install.md", title), "sql")
    return re.findall(r"^(GRANT [^;]+?) TO session_bot(?:_store)?;", block, re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, headings included."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("| ---")]


@cache
def sentences() -> tuple[str, ...]:
    """Every text of the bot's code, with … for what is filled in when it runs."""
    found = set()
    for folder in ("bot", "commands"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.add(
                        "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(re.sub(r"\{\w*(:\w+)?\}", "…", node.value))
    return tuple(sorted(found))
