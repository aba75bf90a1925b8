"""The command line, and the only place where the parts of the bot are put together."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import structlog
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from bot import __version__, checks, logs
from bot.access import Access, Right, Rule
from bot.app import Identity, SessionBot
from bot.closing.audit import Audit
from bot.closing.closer import Closer
from bot.closing.consent import Consent
from bot.closing.model import Approval, Budget
from bot.closing.requests import ClosingRequests
from bot.closing.rules import ClosingRules, SourceRules
from bot.closing.store import Store
from bot.errors import DataSourceError
from bot.sessions.endpoint import Endpoint
from bot.sessions.protection import Protected
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource, DataSourceOptions
from bot.settings import DataSourceSettings, Settings, SlackSettings, load
from bot.slack.channels import ChannelDefault, Defaults
from bot.slack.events import Verb
from bot.slack.patience import Patience
from bot.slack.people import SlackDirectory
from bot.slack.replies import update
from bot.slack.text import visible
from commands import audit, closing_cards, deadlocks, home, kill_session, sessions, show, sources, statistics, variables

log = structlog.get_logger("bot")

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="session-bot", description="See and close OceanBase sessions from the incident channel in Slack."
    )
    parser.add_argument("--version", action="version", version=f"session-bot {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|check|demo")
    verbs.add_parser("run", help="start the bot with the configuration of the environment and session-bot.toml")
    verbs.add_parser("check", help="read the configuration, connect to everything, say what works and what does not")
    verbs.add_parser("demo", help="start an embedded OceanBase, a page like Slack and the bot on this machine")
    verb = parser.parse_args(arguments).verb
    return {"run": run, "check": check, "demo": demo}[verb]()


def check() -> int:
    """Try everything the configuration names; 0 when all of it works."""
    loaded = load()
    reports = checks.everything(loaded, _client(loaded.slack) if loaded.slack else None, _data_source)
    for ok, text in reports:
        if ok:
            print(f"ok       {visible(text)}")
    for text in (*loaded.problems, *(text for ok, text in reports if not ok)):
        print(f"problem  {visible(text)}")
    failed = bool(loaded.problems) or not all(ok for ok, _ in reports)
    print("Not everything works; see above." if failed else "Everything works.")
    return 1 if failed else 0


def run() -> int:
    """Start the bot and stop it on SIGTERM or Ctrl-C."""
    logs.set_up()
    loaded = load()
    client = _client(loaded.slack) if loaded.slack else None
    refused = checks.refusals(loaded, client, _data_source)
    if refused or client is None or loaded.slack is None or loaded.settings is None:
        print("session-bot does not start:", file=sys.stderr)
        for line in refused:
            print(f"problem  {visible(line)}", file=sys.stderr)
        return 1
    return _serve(client, loaded.slack, loaded.settings)


def demo() -> int:
    """Start the demo; it starts this bot unchanged as a process of its own."""
    missing = [name for name in ("starlette", "uvicorn", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        print(f'The demo needs {", ".join(missing)}. Install it with: pip install "session-bot[demo]"', file=sys.stderr)
        return 1
    from bot.demo.launch import run_demo  # noqa: PLC0415  # its dependencies are an extra

    return run_demo()


def _serve(client: WebClient, slack: SlackSettings, settings: Settings) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    identity = _until_slack_answers(lambda: Identity.read(client), stop)
    if identity is None:
        return 0
    store = Store(settings.store.url.get_secret_value())
    store.create()
    service = _service(settings)
    bot = SessionBot(client, identity)
    _register(bot, client, identity, settings, service, store)
    threading.Thread(target=_warm_up, args=(service,), name="warm-up", daemon=True).start()
    socket = SocketModeHandler(bot.bolt, slack.app_token.get_secret_value())
    try:
        _until_slack_answers(socket.connect, stop)
        log.info("ready", version=__version__, sources=list(service.names))
        stop.wait()
        log.info("stopping")
    finally:
        socket.close()  # type: ignore[no-untyped-call]  # so in Bolt's types
        bot.stop()
        service.close()
        store.close()
    log.info("stopped")
    return 0


def _until_slack_answers(ask: Callable[[], T], stop: threading.Event) -> T | None:
    """Ask again and again, since Slack may be away for a while; None when told to stop meanwhile."""
    pause = 1.0
    while not stop.is_set():
        try:
            return ask()
        except (SlackClientError, OSError) as error:
            log.warning("Slack cannot be reached, trying again", seconds=pause, error=type(error).__name__)
            stop.wait(pause)
            pause = min(pause * 2, 30.0)
    return None


def _register(
    bot: SessionBot, client: WebClient, identity: Identity, settings: Settings, service: SessionService, store: Store
) -> None:
    read_only = [name for name, source in settings.data_sources.items() if source.read_only]
    directory = SlackDirectory(client, identity.team)
    access = Access(_access_rules(settings), directory, read_only)
    rules = _closing_rules(settings)
    requests = ClosingRequests(service, access, store, rules, _now)
    consent = Consent(access, store, rules, _now)
    closer = Closer(service, consent, store, rules, _now, threading.Event().wait)
    record = Audit(store, access, _now)
    channels = {name: ChannelDefault(one.data_source, one.tenant) for name, one in settings.channels.items()}
    defaults = Defaults(settings.default_source, channels)
    full_sql = {name: source.show_sql == "full" for name, source in settings.data_sources.items()}
    show_command = show.ShowCommand(service, record, access, defaults, full_sql)
    cards = closing_cards.ClosingCards(requests, closer, consent, full_sql, partial(update, client))
    kill_command = kill_session.KillSessionCommand(service, requests, access, defaults, cards.show)
    verbs: dict[str, Verb] = {}
    topics = {
        module.NAME: module.TOPIC for module in (show, statistics, variables, deadlocks, sources, audit, kill_session)
    }
    list_command = sessions.SessionsCommand(service, access, defaults, full_sql, verbs, topics)
    statistics_command = statistics.StatisticsCommand(service, access, defaults, full_sql, list_command.answer)
    verbs |= {
        show.NAME: show_command.answer,
        statistics.NAME: statistics_command.answer,
        variables.NAME: variables.VariablesCommand(service, access, defaults).answer,
        deadlocks.NAME: deadlocks.DeadlocksCommand(service, access, defaults, full_sql).answer,
        audit.NAME: audit.AuditCommand(service, record, access, directory.name_of).answer,
        sources.NAME: sources.SourcesCommand(service, access).answer,
    }
    registers: list[Callable[[SessionBot], None]] = [
        lambda to: sessions.register(to, list_command),
        lambda to: show.register(to, show_command),
        lambda to: statistics.register(to, statistics_command),
        lambda to: home.register(to, home.HomeCommand(service, requests, access, _now)),
        lambda to: kill_session.register(to, kill_command),
        lambda to: closing_cards.register(to, cards),
    ]
    bot.register(registers)
    if settings.store.keep is not None:
        keep = settings.store.keep

        def let_go() -> None:
            store.forget(_now() - keep, _now())

        bot.periodically(3600, let_go)


def _service(settings: Settings) -> SessionService:
    return SessionService([_data_source(name, source) for name, source in settings.data_sources.items()])


def _data_source(name: str, source: DataSourceSettings) -> DataSource:
    endpoint = Endpoint.of(name, source.host, source.port, source.user, source.password.get_secret_value())
    protected = Protected(source.protected_users, source.protected_modules, tuple(source.protected_sources))
    return DataSource(endpoint, DataSourceOptions(source.tenants, protected, source.kind))


def _closing_rules(settings: Settings) -> ClosingRules:
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
            )
            for name, source in settings.data_sources.items()
        },
    )


def _access_rules(settings: Settings) -> list[Rule]:
    return [
        Rule(rule.who, frozenset(map(Right, rule.may)), rule.data_sources, rule.tenants, rule.channels)
        for rule in settings.access
    ]


def _client(slack: SlackSettings) -> WebClient:
    return WebClient(
        token=slack.bot_token.get_secret_value(),
        base_url=slack.api_url,
        timeout=10,
        retry_handlers=[Patience()],
    )


def _warm_up(service: SessionService) -> None:
    """Make the first connection of each data source before somebody needs it."""
    with ThreadPoolExecutor(checks.SOURCES_AT_ONCE) as pool:
        for name, problem in pool.map(lambda name: (name, _failure(service.source(name))), service.names):
            if problem:
                log.warning("data source not ready", source=name, error=str(problem))


def _failure(source: DataSource) -> DataSourceError | None:
    try:
        source.description()
    except DataSourceError as error:
        return error
    return None


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
