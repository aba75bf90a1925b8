"""The app's Home tab in Slack: rights, data sources, open requests, last closes. Nothing is closed from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from bot.access import Access, Right, Rule
from bot.closing.requests import ClosingRequests
from bot.errors import SessionBotError
from bot.sessions.service import SessionService
from bot.sessions.source import Tenants
from bot.sessions.source_health import ask_all
from bot.slack.delivery.message import HomeTab
from bot.slack.events import HomeOpened, Registrar
from bot.slack.views import home

LAST = 10  # closes that are shown


@dataclass(frozen=True, slots=True)
class HomeCommand:
    """What opening the Home tab and its Refresh do."""

    sessions: SessionService
    requests: ClosingRequests
    access: Access
    clock: Callable[[], datetime]

    def opened(self, event: HomeOpened) -> None:
        """Fill the tab of the person who looks at it."""
        if event.empty:
            event.reply.publish_home(home.loading())
        try:
            view = self._view(self.access.rules_of(event.person))
        except SessionBotError as error:
            event.reply.publish_home(home.problem(error.sentence))
            raise
        event.reply.publish_home(view)

    def _view(self, rules: list[Rule]) -> HomeTab:
        # Who looks here is in no channel: what a rule allows in some is for those who are in them.
        everywhere = [rule for rule in rules if rule.channels is None]
        checks = {}
        for name in self.sessions.names:
            tenants = _tenants(everywhere, name)
            if tenants is None or tenants:
                checks[name] = partial(self.sessions.source(name).health, tenants)
        open_, last = self.requests.recent(LAST, lambda source, tenant: _sees(everywhere, source, tenant))
        return home.home(rules, ask_all(checks), open_, last, self.clock())


def register(registrar: Registrar, command: HomeCommand) -> None:
    """Announce the tab and its button."""
    registrar.home(command.opened)
    registrar.press(home.REFRESH, lambda press: command.opened(HomeOpened(press.person, press.reply)))


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
