"""The command line, and the only place where the parts of the bot are put together."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import signal
import ssl
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
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

from bot import __version__, checks
from bot.access import Access, Right, Rule
from bot.app import Identity, SessionBot
from bot.closing.closer import Closer
from bot.closing.model import Approval
from bot.closing.requests import ClosingRequests, ClosingRules
from bot.closing.store import Store
from bot.errors import DataSourceError
from bot.sessions.endpoint import Endpoint
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource, DataSourceOptions
from bot.settings import DataSourceSettings, Settings, SlackSettings, load
from bot.slack.channels import ChannelDefault, Defaults
from bot.slack.events import Verb
from bot.slack.people import SlackDirectory
from bot.slack.replies import update
from commands import deadlocks, home, kill_session, sessions, show, sources, statistics, variables

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
            print(f"ok       {text}")
    for text in (*loaded.problems, *(text for ok, text in reports if not ok)):
        print(f"problem  {text}")
    failed = bool(loaded.problems) or not all(ok for ok, _ in reports)
    print("Not everything works; see above." if failed else "Everything works.")
    return 1 if failed else 0


def run() -> int:
    """Start the bot and stop it on SIGTERM or Ctrl-C."""
    _log_setup()
    loaded = load()
    client = _client(loaded.slack) if loaded.slack else None
    refused = checks.refusals(loaded, client, _data_source)
    if refused or client is None or loaded.slack is None or loaded.settings is None:
        print("session-bot does not start:", file=sys.stderr)
        for line in refused:
            print(f"problem  {line}", file=sys.stderr)
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
    access = Access(_rules(settings), SlackDirectory(client, identity.team), read_only)
    rules = ClosingRules(
        confirm_within=settings.closing.confirm_within,
        require_reason=settings.closing.require_reason,
        approval={name: Approval(source.approval) for name, source in settings.data_sources.items()},
        max_targets={name: source.max_targets for name, source in settings.data_sources.items()},
    )
    requests = ClosingRequests(service, access, store, rules, _now)
    closer = Closer(service, access, store, _now, threading.Event().wait)
    channels = {name: ChannelDefault(one.data_source, one.tenant) for name, one in settings.channels.items()}
    defaults = Defaults(settings.default_source, channels)
    full_sql = {name: source.show_sql == "full" for name, source in settings.data_sources.items()}
    show_command = show.ShowCommand(service, requests, access, defaults, full_sql)
    verbs: dict[str, Verb] = {}
    topics = {module.NAME: module.TOPIC for module in (show, statistics, variables, deadlocks, sources, kill_session)}
    list_command = sessions.SessionsCommand(service, access, defaults, full_sql, verbs, topics)
    statistics_command = statistics.StatisticsCommand(service, access, defaults, full_sql, list_command.answer)
    verbs |= {
        show.NAME: show_command.answer,
        statistics.NAME: statistics_command.answer,
        variables.NAME: variables.VariablesCommand(service, access, defaults).answer,
        deadlocks.NAME: deadlocks.DeadlocksCommand(service, access, defaults, full_sql).answer,
        sources.NAME: sources.SourcesCommand(service, access).answer,
    }
    registers: list[Callable[[SessionBot], None]] = [
        lambda to: sessions.register(to, list_command),
        lambda to: show.register(to, show_command),
        lambda to: statistics.register(to, statistics_command),
        lambda to: home.register(to, home.HomeCommand(service, requests, access, _now)),
        lambda to: kill_session.register(
            to,
            kill_session.KillSessionCommand(
                service, requests, closer, access, defaults, full_sql, partial(update, client)
            ),
        ),
    ]
    bot.register(registers)


def _service(settings: Settings) -> SessionService:
    return SessionService([_data_source(name, source) for name, source in settings.data_sources.items()])


def _data_source(name: str, source: DataSourceSettings) -> DataSource:
    endpoint = Endpoint.of(name, source.host, source.port, source.user, source.password.get_secret_value())
    return DataSource(endpoint, DataSourceOptions(source.tenants, source.protected_users, source.kind))


def _rules(settings: Settings) -> list[Rule]:
    return [
        Rule(rule.who, frozenset(map(Right, rule.may)), rule.data_sources, rule.tenants, rule.channels)
        for rule in settings.access
    ]


def _client(slack: SlackSettings) -> WebClient:
    return WebClient(
        token=slack.bot_token.get_secret_value(),
        base_url=slack.api_url,
        timeout=10,
        retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=2)],
        ssl=ssl.create_default_context(),  # else each call reads all CA certificates anew: 35 ms of work
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


def _log_setup() -> None:
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Bolt and the SDK log payloads below this level.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
