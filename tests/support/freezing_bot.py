"""The bot, stopped as by SIGSTOP in a chosen step of a close: python -m tests.support.freezing_bot STEP.

The code of the bot knows nothing of it. In all steps but "kill" its transaction in the store is open.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from bot.closing.store import leases
from tests.support.frozen_writer import freeze, freeze_after

STEPS = ("confirm", "intent", "kill", "outcome")


def freezing(call: Callable[..., Any]) -> Callable[..., Any]:
    """Give a call after which the process stops the first time, until somebody lets it go on."""
    first = itertools.count()

    def run(*given: Any, **named: Any) -> Any:
        answer = call(*given, **named)
        if next(first) == 0:
            freeze()
        return answer

    return run


if __name__ == "__main__":
    leases.LEASE = timedelta(seconds=6)  # as that of tests.support.hasty_bot
    # From here on, as it is imported from there.
    from bot.__main__ import main
    from tests.support import crashing_bot

    if sys.argv[1] == "kill":
        owner, name = crashing_bot.STEPS["sent"]
        setattr(owner, name, freezing(getattr(owner, name)))
    else:
        freeze_after(sys.argv[1])
    sys.exit(main(["run"]))
