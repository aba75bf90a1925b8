"""Where closing requests and the record of what was done are kept: SQLite or a MySQL-compatible server.

What changes together is one file, and each writes its part of the record in the same transaction.
"""

from __future__ import annotations

from bot.closing.model import Clock
from bot.closing.store.break_glass import BreakGlassRecords
from bot.closing.store.cards import Cards
from bot.closing.store.database import Database
from bot.closing.store.decisions import Decisions
from bot.closing.store.deliveries import Deliveries
from bot.closing.store.intents import Intents
from bot.closing.store.leases import Leases
from bot.closing.store.old_records import OldRecords
from bot.closing.store.outcomes import Concluded, Outcomes
from bot.closing.store.requests import StoredRequests


class Store:
    """The parts of the store. Every method of theirs raises ``StoreError`` when the database does not answer.

    ``concluded`` is told the outcomes that are on record; ``clock`` stands in for the database's where tests rule time.
    """

    def __init__(
        self, database: Database, concluded: Concluded = lambda _outcomes: None, clock: Clock | None = None
    ) -> None:
        self.database = database
        self.requests = StoredRequests(database)
        self.decisions = Decisions(database)
        self.leases = Leases(database, self.requests)
        self.deliveries = Deliveries(database)
        self.intents = Intents(database)
        self.outcomes = Outcomes(database, self.requests, concluded)
        self.break_glass = BreakGlassRecords(database, self.requests)
        self.cards = Cards(database, self.requests, clock or database.clock)
        self.old_records = OldRecords(database)
