"""The bot whose store is locked by somebody else between claim and intent: python -m tests.support.locking_bot.

The lock is held until the file `locked`, which says that it is, is removed from the working folder.
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
from bot.closing.store import Store

LOCKED = Path("locked")


def lock() -> None:
    """Hold the store's lock until the file is gone."""
    with contextlib.closing(sqlite3.connect("store.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        LOCKED.touch()
        while LOCKED.exists():
            time.sleep(0.02)
        store.execute("ROLLBACK")


def locking(claim: Any) -> Any:
    """Give a claim after which the store is locked, the first time."""
    first = [True]

    def run(*given: Any, **named: Any) -> bool:
        taken = bool(claim(*given, **named))
        if first.pop() if first else False:
            threading.Thread(target=lock, daemon=True).start()
            while not LOCKED.exists():
                time.sleep(0.01)
        return taken

    return run


if __name__ == "__main__":
    setattr(Store, "claim", locking(Store.claim))  # noqa: B010  # mypy takes no assignment to a method
    sys.exit(main(["run"]))
