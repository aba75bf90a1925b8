"""Extending the budget: who may allow more closes on a data source than its rules do, in answer to a message."""

from __future__ import annotations

import re
from collections.abc import Collection

from bot.access import Access, Person, Right
from bot.closing.model import Clock, Extension
from bot.closing.rules import ClosingRules
from bot.closing.store import Store, budget
from bot.closing.store.database import tried_again
from bot.errors import BudgetError, NotAllowedError


class BudgetExtensions:
    """Calls on those who may allow more, and lets them."""

    def __init__(self, access: Access, store: Store, rules: ClosingRules, clock: Clock) -> None:
        self._access = access
        self._database = store.database
        self._rules = rules
        self._clock = clock

    @tried_again
    def call(self, error: BudgetError, person: Person, channel: str) -> tuple[str, tuple[str, ...]]:
        """Put on record that a message calls for more closes; return its id, and the ids of those who may allow them.

        Raises ``StoreError``.
        """
        with self._database.writing() as connection:
            number = budget.call(connection, error, person, channel, self._clock())
        return str(number), self._who_extends(error.source, channel)

    @tried_again
    def extend(self, call: str, person: Person, channel: str) -> Extension:
        """Allow as many closes again within the budget's time, in answer to a message and once for each.

        Raises ``NotAllowedError``, ``PersonUnknownError``, or ``RequestError`` when what the message is about is over.
        """
        number = int(call) if re.fullmatch(r"\d{1,18}", call, re.ASCII) else 0
        with self._database.reading() as connection:
            called = budget.called(connection, number)
        source = called.source or ""
        if channel != called.channel:
            raise NotAllowedError("This message belongs to another channel. Nothing was done.")
        scope = self._access.scope_as_known(person, Right.APPROVE, source, channel)
        if not all(map(scope.covers, self._budgeted(source))):
            tenants = ", ".join(sorted(scope.tenants or ()))
            raise NotAllowedError(
                f"You may approve closing sessions of {tenants} on {source}; its budget is one for all its tenants. "
                "Only somebody who may approve for all of them can extend it. Nothing was done.",
                who=self._who_extends(source, channel),
            )
        with self._database.writing() as connection:
            return budget.extend(connection, number, person, self._rules.of(source).budget, self._clock())

    def _budgeted(self, source: str) -> Collection[str | None]:
        """Tenants of which a budget is shared; None stands for any, which only a right to all of them covers."""
        return self._rules.of(source).tenants or (None,)

    def _who_extends(self, source: str, channel: str) -> tuple[str, ...]:
        return self._access.named(Right.APPROVE, source, self._budgeted(source), channel)
