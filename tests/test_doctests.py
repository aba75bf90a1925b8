"""The examples in docstrings are what the functions return."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.support.running_bot import ROOT
from tests.test_layers import module_of

MODULES = sorted(
    module_of(path)
    for folder in ("bot", "commands", "sandbox")
    for path in (ROOT / folder).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples() -> None:
    assert MODULES


@pytest.mark.parametrize("module", MODULES)
def test_an_example_in_a_docstring_is_what_the_function_returns(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed
