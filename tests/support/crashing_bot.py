"""The bot, killed as by `kill -9` at a chosen step of a close: python -m tests.support.crashing_bot STEP.

The code of the bot knows nothing of it: the step is cut out of the running process from outside.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bot.__main__ import main
from bot.closing.store.cards import Cards
from bot.closing.store.decisions import Decisions
from bot.closing.store.intents import Intents
from bot.closing.store.outcomes import Outcomes
from bot.sessions.console import Console

# Each step is the end of one call: what comes after it never happens.
STEPS: dict[str, tuple[type, str]] = {
    "claimed": (Decisions, "claim"),
    "intended": (Intents, "intend"),
    "sent": (Console, "kill"),
    "concluded": (Outcomes, "conclude"),
    "shown": (Cards, "mark_shown"),  # which the writer of cards calls once Slack has taken one
}


def dying(call: Callable[..., Any]) -> Callable[..., Any]:
    """Give a call after which the process is gone."""

    def run(*given: Any, **named: Any) -> Any:
        call(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return run


if __name__ == "__main__":
    owner, name = STEPS[sys.argv[1]]
    setattr(owner, name, dying(getattr(owner, name)))
    sys.exit(main(["run"]))
