"""The bot whose store is locked by somebody else after a step of a close: python -m tests.support.locking_bot STEP.

The lock is held from the first time that STEP, a method of the store, is done, until the file `locked`, which says that
it is, is removed from the working folder. `touch again` makes the next one the first again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bot.__main__ import main
from bot.closing.store.decisions import Decisions
from bot.closing.store.intents import Intents
from bot.closing.store.outcomes import Outcomes

STEPS: dict[str, type] = {"claim": Decisions, "intend": Intents, "answered": Intents, "conclude": Outcomes}
LOCKED, AGAIN = Path("locked"), Path("again")


def lock() -> None:
    """Hold the store's lock until the file is gone."""
    with contextlib.closing(sqlite3.connect("store.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        LOCKED.touch()
        while LOCKED.exists():
            time.sleep(0.02)
        store.execute("ROLLBACK")


def locking(step: Any) -> Any:
    """Give a step after which the store is locked, each time that it is asked for."""
    AGAIN.touch()

    def run(*given: Any, **named: Any) -> Any:
        answer = step(*given, **named)
        if AGAIN.exists():
            AGAIN.unlink()
            threading.Thread(target=lock, daemon=True).start()
            while not LOCKED.exists():
                time.sleep(0.01)
        return answer

    return run


if __name__ == "__main__":
    owner = STEPS[sys.argv[1]]
    setattr(owner, sys.argv[1], locking(getattr(owner, sys.argv[1])))
    sys.exit(main(["run"]))
