"""Puts the parts of the bot together: the only file that imports commands and listeners, and hands settings down."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from bot import __version__
from bot.access import Access, Right, Rule
from bot.app import Identity, SessionBot
from bot.closing.approval import Consent
from bot.closing.audit_query import Audit
from bot.closing.closer import Closer
from bot.closing.follow_up import Aftermath
from bot.closing.lock import WAIT, StoreLock, taken
from bot.closing.model import Approval, Budget
from bot.closing.open_attempts import Attempts
from bot.closing.requests import ClosingRequests
from bot.closing.retention import Retention
from bot.closing.rules import ClosingRules, SourceRules
from bot.closing.store import LEASE, Store
from bot.errors import BusyError, DataSourceError, SessionBotError, StoreError
from bot.listeners import closing_cards, home
from bot.operations import preflight
from bot.operations.health import Health, SlackSeen
from bot.operations.lifecycle import Grace, Signals, until_slack_answers
from bot.operations.metrics import Metrics
from bot.operations.named_tenants import NamedTenants
from bot.operations.telemetry import ObservedClient
from bot.operations.web_server import Pages, Server
from bot.recorded import RecordedStore
from bot.sessions.database import PoolUse, Visited
from bot.sessions.endpoint import Endpoint
from bot.sessions.protection import Protected
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource, DataSourceOptions
from bot.settings import DataSourceSettings, Loaded, Settings, SlackSettings, load
from bot.slack.defaults import ChannelDefault, Defaults
from bot.slack.delivery.card_writer import CardWriter
from bot.slack.delivery.replies import post, tell, update
from bot.slack.delivery.retries import RetryWithinDeadline
from bot.slack.directory import SlackDirectory
from bot.slack.events import Verb
from commands import audit, deadlocks, kill_session, sessions, show, sources, statistics, variables

log = structlog.get_logger("bot")

LAST_RECORDS = 8.0  # seconds for what the store has not taken when the bot ends
LAST_CARDS = 1.5  # seconds for what cards have to tell when the bot ends
STORE_AGAIN = 5.0  # seconds between two tries to set up a store that was away at the start
RETENTION_EVERY = 3600.0  # seconds
KEEP_WARM_EVERY = 60.0  # seconds; servers and proxies on the way close connections that are idle for minutes


def data_source(name: str, source: DataSourceSettings, visited: Visited | None = None) -> DataSource:
    """Make a data source; ``visited`` is told of each use of its connections."""
    endpoint = Endpoint(name, source.host, source.port, source.user, source.password, source.encryption)
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
        retry_handlers=[RetryWithinDeadline()],
    )


def serve(client: ObservedClient, slack: SlackSettings, settings: Settings) -> int:
    """Run the bot until a signal ends it; returns the exit status. Raises ``ConfigurationError``."""
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
        self,
        bot: SessionBot,
        client: WebClient,
        identity: Identity,
        slack: SlackSettings,
        store: Store,
        grace: Grace,
        metrics: Metrics,
        health: Health,
        seen: SlackSeen,
    ) -> None:
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
        return problems + preflight.refused_logins(others, data_source)

    def _ask_slack_again(self) -> None:
        if self._seen.unreachable:
            with contextlib.suppress(SlackClientError, OSError):
                self._client.auth_test()


def _register(
    bot: SessionBot,
    client: WebClient,
    settings: Settings,
    service: SessionService,
    store: Store,
    access: Access,
    directory: SlackDirectory,
    aftermath: Aftermath,
    attempts: Attempts,
    writer: CardWriter,
    wait: Callable[[float], object],
) -> None:
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

    with ThreadPoolExecutor(preflight.SOURCES_AT_ONCE) as pool:
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
