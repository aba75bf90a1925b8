"""A store of its own for a test, besides those of bots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bot.closing.store import Store
from bot.closing.store.database import Database
from bot.sessions.tls import PREFERRED, Tls


@contextlib.contextmanager
def store_at(address: str, tls: Tls = PREFERRED) -> Iterator[Store]:
    """Open the store at a URL; its connections are closed with the block."""
    store = Store(Database(address, tls))
    try:
        yield store
    finally:
        store.database.close()
