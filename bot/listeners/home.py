"""The app's Home tab in Slack: rights, data sources, open requests, last closes. Nothing is closed from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from bot.access import Access, Right, Rule
from bot.closing.requests import ClosingRequests
from bot.sessions.service import SessionService
from bot.sessions.source_health import Looks, Tenants, as_they_answer
from bot.slack.delivery.message import HomeTab
from bot.slack.events import EVERY_SOURCE, HomeOpened, Registrar
from bot.slack.views import home

LAST = 10  # closes that are shown


@dataclass(frozen=True, slots=True)
class HomeCommand:
    """What opening the Home tab and its Refresh do."""

    sessions: SessionService
    requests: ClosingRequests
    access: Access
    clock: Callable[[], datetime]
    looks: Looks

    def opened(self, event: HomeOpened) -> None:
        """Fill the tab of the person who looks at it."""
        if event.empty:
            event.reply.publish_home(home.loading())
        for view in self._views(self.access.rules_of(event.person)):
            event.reply.publish_home(view)

    def _views(self, rules: list[Rule]) -> Iterator[HomeTab]:
        """Yield the tab, and again as data sources answer."""
        # Who looks here is in no channel: what a rule allows in some is for those who are in them.
        everywhere = [rule for rule in rules if rule.channels is None]
        asked = {}
        for name in self.sessions.names:
            tenants = _tenants(everywhere, name)
            if tenants is None or tenants:
                asked[name] = self.looks.ask(name, tenants, self.sessions.source(name).health)
        open_, last = self.requests.recent(LAST, lambda source, tenant: _sees(everywhere, source, tenant))
        for found in as_they_answer(asked):
            yield home.home(rules, found, open_, last, self.clock())


def register(registrar: Registrar, command: HomeCommand) -> None:
    """Announce the tab and its button."""
    registrar.home(command.opened)
    registrar.press(
        home.REFRESH,
        lambda press: command.opened(HomeOpened(press.person, press.reply)),
        asks=lambda _press: EVERY_SOURCE,
        shows_progress=True,
    )


def _tenants(rules: list[Rule], source: str) -> Tenants:
    """The tenants whose sessions may be seen on that data source; None is every tenant, empty is none."""
    found: set[str] = set()
    for rule in rules:
        if Right.VIEW in rule.may and (rule.data_sources is None or source in rule.data_sources):
            if rule.tenants is None:
                return None
            found |= rule.tenants
    return frozenset(found)


def _sees(rules: list[Rule], source: str, tenant: str | None) -> bool:
    return any(rule.covers(Right.VIEW, source, tenant) for rule in rules)
