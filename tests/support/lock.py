"""The lock files, read."""

from __future__ import annotations

import re

from tests.support.running_bot import ROOT

_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def pinned(name: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    return dict(_PIN.findall((ROOT / name).read_text(encoding="utf-8")))
