"""The command line, and the only place where the parts of the bot are put together."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from bot import __version__, checks, logs
from bot.access import Access
from bot.app import Identity, SessionBot
from bot.closing.aftermath import Aftermath
from bot.closing.attempts import Attempts
from bot.closing.audit import Audit
from bot.closing.closer import Closer
from bot.closing.consent import Consent
from bot.closing.lock import WAIT, StoreLock, taken
from bot.closing.requests import ClosingRequests
from bot.closing.retention import Retention
from bot.closing.store import LEASE, Store
from bot.configured import access_rules, closing_rules, data_source, read_only, slack_client
from bot.errors import BusyError, ConfigurationError, DataSourceError, SessionBotError, StoreError
from bot.health import Health, SlackSeen
from bot.lifecycle import Grace, Signals, ignore_hangups, until_slack_answers
from bot.metrics import Metrics
from bot.observed import ObservedClient
from bot.recorded import RecordedStore
from bot.server import Pages, Server
from bot.sessions.database import PoolUse
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource
from bot.settings import Loaded, Settings, SlackSettings, load
from bot.slack.card_writer import CardWriter
from bot.slack.channels import ChannelDefault, Defaults
from bot.slack.events import Verb
from bot.slack.people import SlackDirectory
from bot.slack.replies import post, tell, update
from bot.slack.text import visible
from bot.tenants import NamedTenants
from commands import audit, closing_cards, deadlocks, home, kill_session, sessions, show, sources, statistics, variables

log = structlog.get_logger("bot")

LAST_RECORDS = 8.0  # seconds for what the store has not taken when the bot ends
LAST_CARDS = 1.5  # seconds for what cards have to tell when the bot ends
STORE_AGAIN = 5.0  # seconds between two tries to set up a store that was away at the start
RETENTION_EVERY = 3600.0  # seconds
KEEP_WARM_EVERY = 60.0  # seconds; servers and proxies on the way close connections that are idle for minutes


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
    sys.excepthook = logs.ended
    return {"run": run, "check": check, "demo": demo}[verb]()


def check() -> int:
    """Try everything the configuration names; 0 when all of it works."""
    logs.set_up()
    loaded = load()
    reports = checks.everything(loaded, slack_client(loaded.slack) if loaded.slack else None, data_source)
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
    ignore_hangups()
    loaded = load()
    client = slack_client(loaded.slack) if loaded.slack else None
    refused = checks.refusals(loaded, client, data_source)
    if refused or client is None or loaded.slack is None or loaded.settings is None:
        print("session-bot does not start:", file=sys.stderr)
        for line in refused:
            print(f"problem  {visible(line)}", file=sys.stderr)
        return 1
    try:
        return _serve(client, loaded.slack, loaded.settings)
    except ConfigurationError as error:
        print(f"session-bot does not start:\nproblem  {error}", file=sys.stderr)
        return 1


def demo() -> int:
    """Start the demo; it starts this bot unchanged as a process of its own."""
    missing = [name for name in ("starlette", "uvicorn", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        print(f'The demo needs {", ".join(missing)}. Install it with: pip install "session-bot[demo]"', file=sys.stderr)
        return 1
    from bot.demo.launch import run_demo  # noqa: PLC0415  # its dependencies are an extra

    return run_demo()


def _serve(client: ObservedClient, slack: SlackSettings, settings: Settings) -> int:
    signals, grace, seen = Signals(), Grace(), SlackSeen()
    client.observer = metrics = Metrics(__version__, seen.called)
    health = Health(seen.report, __version__)
    server = _server(slack, health, metrics)
    lock = StoreLock(settings.store.url.get_secret_value())
    identity = until_slack_answers(lambda: Identity.read(client), signals) if _alone(lock, signals) else None
    if identity is None:
        server.stop()
        lock.release()
        return 0
    store = RecordedStore(settings.store.url.get_secret_value(), metrics.concluded, settings.store.encryption)
    store.lock, store.quiet_for = lock, settings.longest_budget
    secret = slack.signing_secret.get_secret_value() if slack.signing_secret else ""
    bot = SessionBot(client, identity, secret, metrics)
    running = _Running(bot, client, identity, slack, store, grace, metrics, health, seen)
    try:
        store.create_once()
    except StoreError as error:
        log.warning("store not ready, trying again", error=error.sentence)
    running.use(settings)
    metrics.read_out(lambda: bot.waiting, running.pools)
    bot.periodically(STORE_AGAIN, store.create_once)
    bot.periodically(LEASE.total_seconds() / 4, running.attempts.renew, to_the_end=True)
    socket = SocketModeHandler(bot.bolt, slack.app_token.get_secret_value()) if slack.app_token else None
    try:
        if socket is None:
            server.take_events(bot.bolt)
        else:
            seen.connected = socket.client.is_connected
            until_slack_answers(socket.connect, signals)
        log.info("ready", version=__version__, sources=list(running.service.names))
        signals.wait(running.reload)
        log.info("stopping")
        grace.end_in_time()
    finally:
        close_link = server.stop if socket is None else socket.close

        def last_cards() -> None:
            running.attempts.settle_within(LAST_RECORDS)
            running.cards.close(LAST_CARDS)
            close_link()

        bot.stop(last_cards)
        server.stop()
        running.service.close()
        store.close()
        lock.release()
    log.info("stopped")
    return 0


def _alone(lock: StoreLock, signals: Signals) -> bool:
    """Wait until no other bot has the store's file; False when told to end meanwhile. Raises ``ConfigurationError``."""
    since = time.monotonic()
    while not lock.take():
        if time.monotonic() - since >= WAIT:
            raise taken(WAIT)
        if signals.end_within(1):
            return False
        log.info("another bot uses the store, waiting for its end")
    return True


def _server(slack: SlackSettings, health: Health, metrics: Metrics) -> Server:
    server = Server(slack.listens_on, Pages(health.report, metrics.page), takes_events=slack.app_token is None)
    server.start()
    return server


class _Running:
    """The parts that stay, and the configuration that they work with now; another may take its place."""

    def __init__(
        self, bot: SessionBot, client: WebClient, identity: Identity, slack: SlackSettings, store: Store,
        grace: Grace, metrics: Metrics, health: Health, seen: SlackSeen,
    ) -> None:  # fmt: skip
        self.service = SessionService([])
        self._bot = bot
        self._client = client
        self._slack = slack
        self._store = store
        self._grace = grace
        self._metrics = metrics
        self._health = health
        self._seen = seen
        self._directory = SlackDirectory(client, identity.team)
        self._settings: Settings | None = None
        self._reloading = threading.Lock()
        # What these know outlives a reload.
        self._aftermath = Aftermath(lambda: self.service, store, store.clock)
        self.attempts = Attempts(store)
        self.cards = CardWriter()
        self._retention = Retention(store)

    def pools(self) -> dict[str, PoolUse]:
        """How busy the connections of each data source are."""
        service = self.service  # another one may take its place meanwhile
        return {name: service.source(name).pool_use for name in service.names}

    def use(self, settings: Settings) -> None:
        """Work with these settings from now on; what is under way ends with those before."""
        before = {name: self.service.source(name) for name in self.service.names}
        wanted = [data_source(name, source, self._metrics.visited) for name, source in settings.data_sources.items()]
        sources = [before[one.name] if one.name in before and before[one.name].is_like(one) else one for one in wanted]
        self.service = service = SessionService(sources)
        access = Access(access_rules(settings), self._directory, read_only(settings))
        _register(
            self._bot,
            self._client,
            settings,
            service,
            self._store,
            access,
            self._directory,
            self._aftermath,
            self.attempts,
            self.cards,
            self._grace.wait,
        )
        self._store.quiet_for = settings.longest_budget
        keep = settings.store.keep
        if keep is not None:

            def let_go() -> None:
                self._retention.let_go(keep)

            self._bot.periodically(RETENTION_EVERY, let_go)
        looks = {source.name: source.check for source in sources}
        self._health.watch(self._store.check, self._ask_slack_again, looks, lambda: self._bot.stopping)
        self._settings = settings
        for name, source in before.items():
            if source not in sources:
                source.close()
                log.info("data source closed", source=name)
        tenants = NamedTenants(settings)

        def keep_warm() -> None:
            _warm_up(service, tenants)

        threading.Thread(target=keep_warm, name="warm-up", daemon=True).start()
        self._bot.periodically(KEEP_WARM_EVERY, keep_warm)

    def reload(self) -> None:
        """Read the configuration again, in a thread of its own; what is wrong is refused whole."""
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        with self._reloading:
            loaded = load()
            problems = self._refusals(loaded)
            if problems or loaded.settings is None:
                log.error("new configuration refused, the one before stays", problems=problems)
                return
            self.use(loaded.settings)
            log.info("configuration read again", sources=list(self.service.names), rules=len(loaded.settings.access))

    def _refusals(self, loaded: Loaded) -> list[str]:
        problems, before = list(loaded.problems), self._settings
        if before is None or loaded.settings is None:
            return problems
        at_start = "is read at the start only; restart the bot to change it"
        if loaded.slack != self._slack:
            problems.append(f"SLACK_…, PORT, HEALTH_PORT: what reaches Slack {at_start}")
        changed = [key for key, value in before.store if getattr(loaded.settings.store, key) != value]
        problems += [f"store.{key}: {at_start}" for key in changed]
        others = {name: one for name, one in loaded.data_sources.items() if one != before.data_sources.get(name)}
        return problems + checks.refused_logins(others, data_source)

    def _ask_slack_again(self) -> None:
        if self._seen.unreachable:
            with contextlib.suppress(SlackClientError, OSError):
                self._client.auth_test()


def _register(
    bot: SessionBot, client: WebClient, settings: Settings, service: SessionService, store: Store, access: Access,
    directory: SlackDirectory, aftermath: Aftermath, attempts: Attempts, writer: CardWriter,
    wait: Callable[[float], object],
) -> None:  # fmt: skip
    rules, now = closing_rules(settings), store.clock
    requests = ClosingRequests(service, access, store, rules, now)
    consent = Consent(access, store, rules, now)
    closer = Closer(service, consent, store, rules, attempts, aftermath, now, wait)
    record = Audit(store, access, now)
    channels = {name: ChannelDefault(one.data_source, one.tenant) for name, one in settings.channels.items()}
    defaults = Defaults(settings.default_source, channels)
    # Cards of data sources that are no longer there are still rewritten.
    full_sql = defaultdict(bool, {name: one.show_sql == "full" for name, one in settings.data_sources.items()})
    show_command = show.ShowCommand(service, record, access, defaults, full_sql)
    messages = closing_cards.Messages(partial(update, client), partial(post, client), partial(tell, client))
    cards = closing_cards.ClosingCards(requests, closer, consent, full_sql, messages, writer)
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
        audit.NAME: audit.AuditCommand(service, record, access, defaults, directory.name_of).answer,
        sources.NAME: sources.SourcesCommand(service, access).answer,
    }
    registers: list[Callable[[SessionBot], None]] = [
        lambda to: sessions.register(to, list_command),
        lambda to: show.register(to, show_command),
        lambda to: statistics.register(to, statistics_command),
        lambda to: home.register(to, home.HomeCommand(service, requests, access, now)),
        lambda to: kill_session.register(to, kill_command),
        lambda to: closing_cards.register(to, cards),
    ]
    bot.register(registers)


def _warm_up(service: SessionService, tenants: NamedTenants) -> None:
    """Make the first connection of each data source before somebody needs it, and keep servers from closing it."""

    def warm(name: str) -> SessionBotError | None:
        source = service.source(name)
        problem = _failure(source)
        if problem is None:
            tenants.ask(source)
        return problem

    with ThreadPoolExecutor(checks.SOURCES_AT_ONCE) as pool:
        for name, problem in zip(service.names, pool.map(warm, service.names), strict=True):
            if problem:
                log.warning("data source not ready", source=name, error=str(problem))
    for told in tenants.problems():
        log.warning("tenant name not confirmed", problem=told)


def _failure(source: DataSource) -> SessionBotError | None:
    try:
        source.check()
    except (DataSourceError, BusyError) as error:
        return error
    return None


if __name__ == "__main__":
    sys.exit(main())
