"""The configuration as the parts of the bot take it: values, rules and data sources."""

from __future__ import annotations

import ssl

from bot.access import Right, Rule
from bot.closing.model import Approval, Budget
from bot.closing.rules import ClosingRules, SourceRules
from bot.observed import ObservedClient
from bot.sessions.database import Visited
from bot.sessions.endpoint import Endpoint
from bot.sessions.protection import Protected
from bot.sessions.source import DataSource, DataSourceOptions
from bot.settings import DataSourceSettings, Settings, SlackSettings
from bot.slack.patience import Patience


def data_source(name: str, source: DataSourceSettings, visited: Visited | None = None) -> DataSource:
    """Make a data source; ``visited`` is told of each use of its connections."""
    endpoint = Endpoint.of(
        name, source.host, source.port, source.user, source.password.get_secret_value(), source.encryption
    )
    networks = tuple(sorted(source.protected_sources, key=str))
    protected = Protected(source.protected_users, source.protected_modules, networks)
    return DataSource(endpoint, DataSourceOptions(source.tenants, protected, source.kind), visited)


def read_only(settings: Settings) -> list[str]:
    """Name the data sources on which nothing is closed."""
    return [name for name, source in settings.data_sources.items() if source.read_only]


def closing_rules(settings: Settings) -> ClosingRules:
    """Say how closing works, for each data source."""
    return ClosingRules(
        settings.closing.confirm_within,
        settings.closing.require_reason,
        {
            name: SourceRules(
                Approval(source.approval),
                {tenant: Approval(approval) for tenant, approval in source.tenant_approval.items()},
                source.break_glass_after,
                source.max_targets,
                Budget(source.budget, source.budget_window),
                source.tenants,
            )
            for name, source in settings.data_sources.items()
        },
    )


def access_rules(settings: Settings) -> list[Rule]:
    """Say who may do what."""
    return [
        Rule(rule.who, frozenset(map(Right, rule.may)), rule.data_sources, rule.tenants, rule.channels)
        for rule in settings.access
    ]


def slack_client(slack: SlackSettings) -> ObservedClient:
    """Make the client of Slack's Web API."""
    return ObservedClient(
        token=slack.bot_token.get_secret_value(),
        base_url=slack.api_url,
        timeout=10,
        ssl=ssl.create_default_context(),  # else each call reads all CA certificates anew: 35 ms of work
        retry_handlers=[Patience()],
    )
