"""What is said of a configuration, for tests that name keys of the usual file."""

from __future__ import annotations

from bot.settings import Loaded


def told(loaded: Loaded) -> list[str]:
    """Return the problems; those of keys in the file begin with the key, not with the name of the file."""
    return [problem.removeprefix("session-bot.toml: ") for problem in loaded.problems]
