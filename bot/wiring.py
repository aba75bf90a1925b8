"""Puts the parts of the bot together: the only file that imports commands and listeners, and hands settings down."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from bot import __version__
from bot.access import Access, Right, Rule
from bot.app import Identity, SessionBot
from bot.closing.advice import Adviser
from bot.closing.approval import Approvals
from bot.closing.audit_query import AuditTrail
from bot.closing.break_glass import BreakGlass
from bot.closing.budget import BudgetExtensions
from bot.closing.closer import Closer
from bot.closing.disclosures import Disclosures
from bot.closing.follow_up import FollowUps
from bot.closing.model import ApprovalPolicy, Budget
from bot.closing.open_attempts import OpenAttempts
from bot.closing.requests import ClosingRequests
from bot.closing.retention import Retention
from bot.closing.rules import ClosingRules, SourceRules
from bot.closing.store import Store
from bot.closing.store.audit_log import Recorded
from bot.closing.store.database import Database
from bot.closing.store.leases import LEASE
from bot.closing.store.lock import WAIT, StoreLock, taken
from bot.closing.store.outage import Outage
from bot.errors import ConfigurationError, SessionBotError, StoreError, StoreTooNewError
from bot.listeners import closing_cards, home
from bot.operations import closing_log, preflight
from bot.operations.audit_stream import AuditStream
from bot.operations.health import Health, SlackHealth
from bot.operations.lifecycle import Grace, Signals, until_slack_answers, until_slack_delivers
from bot.operations.metrics import Metrics, Standing
from bot.operations.named_tenants import NamedTenants
from bot.operations.telemetry import BotTelemetry
from bot.operations.web_server import Pages, WebServer
from bot.sessions.asking import ask_each
from bot.sessions.diagnosis.triage import Thresholds
from bot.sessions.endpoint import Endpoint
from bot.sessions.pool import PoolUse, Visited
from bot.sessions.protection import Protected
from bot.sessions.service import SessionService
from bot.sessions.source import DIAGNOSIS_LIMIT, DataSource, DataSourceOptions
from bot.sessions.source_health import Looks
from bot.sessions.statement import Disclosure
from bot.settings import DataSourceSettings, Loaded, Settings, SlackSettings, load
from bot.slack.client import Client
from bot.slack.defaults import ChannelDefault, Defaults
from bot.slack.delivery.card_keeper import CardKeeper
from bot.slack.delivery.card_message import Messages
from bot.slack.delivery.card_writer import CardWriter
from bot.slack.delivery.replies import post_in, tell, update
from bot.slack.delivery.shared_deduplication import SharedDeduplication
from bot.slack.directory import SlackDirectory
from bot.slack.events import EVERY_SOURCE, STORE, Asked, AskedBy, Verb, of_diagnosis, of_source
from bot.slack.shared_channels import SharedChannels
from bot.slack.slack_errors import CALL_ERRORS
from bot.slack.socket_mode import SocketLink
from commands import (
    audit,
    deadlocks,
    kill_session,
    locks,
    sessions,
    show,
    sources,
    statistics,
    transactions,
    triage,
    variables,
)

log = structlog.get_logger("bot")

LAST_RECORDS = 8.0  # seconds for what the store has not taken when the bot ends
LAST_ACTS = 1.0  # seconds for what the audit log has not been written when the bot ends
LAST_CARDS = 1.5  # seconds for what cards have to tell when the bot ends
STORE_WITHIN = 1.5  # seconds for which the start waits for a store on a server
STORE_AGAIN = 5.0  # seconds between two tries to set up a store that was away at the start
RETENTION_EVERY = 3600.0  # seconds
KEEP_WARM_EVERY = 60.0  # seconds; servers and proxies on the way close connections that are idle for minutes

# What help shows.
TOPICS = {
    module.NAME: module.TOPIC
    for module in (triage, locks, transactions, show, statistics, variables, deadlocks, sources, audit, kill_session)
}

_SHOWN = {"digest": Disclosure.DIGEST, "full": Disclosure.ALL_BUT_PASSWORDS}

WaitsFor = Callable[[str], AbstractContextManager[None]]
Register = Callable[[SessionBot], None]  # announces what something answers to


def data_source(
    name: str,
    source: DataSourceSettings,
    visited: Visited | None = None,
    waits_for: WaitsFor = lambda _what: contextlib.nullcontext(),
    diagnosis_limit: timedelta = timedelta(seconds=DIAGNOSIS_LIMIT),
) -> DataSource:
    """Make a data source; ``visited`` is told of each use of its connections, ``waits_for`` for what is waited then.

    A statement that explains sessions may take ``diagnosis_limit``.
    """
    endpoint = Endpoint(name, source.host, source.port, source.user, source.password, source.encryption)
    networks = tuple(sorted(source.protected_sources, key=str))
    protected = Protected(source.protected_users, source.protected_modules, networks)
    options = DataSourceOptions(
        source.tenants, protected, source.kind, source.connection_max_age, diagnosis_limit.total_seconds()
    )
    lists, diagnoses = (partial(waits_for, asked.what) for asked in (of_source(name), of_diagnosis(name)))
    return DataSource(endpoint, options, visited, lists, diagnoses)


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
                ApprovalPolicy(source.approval),
                {tenant: ApprovalPolicy(approval) for tenant, approval in source.tenant_approval.items()},
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


def channel_defaults(settings: Settings) -> Defaults:
    """Say what is meant where nothing is named."""
    channels = {name: ChannelDefault(one.data_source, one.tenant) for name, one in settings.channels.items()}
    return Defaults(settings.default_source, channels)


def triage_thresholds(settings: Settings) -> Thresholds:
    """Say from when on something counts as wrong."""
    given = settings.triage
    return Thresholds(
        given.statement_over.total_seconds(),
        given.idle_transaction_over.total_seconds(),
        given.same_statement,
        given.same_statement_over.total_seconds(),
        given.near_limit,
        given.killed_over.total_seconds(),
        given.deadlocks_within.total_seconds(),
    )


def slack_client(slack: SlackSettings) -> Client:
    """Make the client of Slack's Web API."""
    return Client(slack.bot_token.get_secret_value(), slack.api_url)


def serve(client: Client, slack: SlackSettings, settings: Settings) -> int:
    """Run the bot until a signal ends it; returns the exit status. Raises ``ConfigurationError``."""
    signals, telemetry = Signals(), BotTelemetry(Metrics(__version__), SlackHealth())
    client.telemetry = telemetry
    client.keep_ready()
    health = Health(telemetry.slack, __version__)
    reloads = health.reloads
    stream = AuditStream(settings.store.audit_log) if settings.store.audit_log is not None else None
    telemetry.metrics.stand(
        Standing(
            health.is_connected,
            health.is_store_up,
            lambda: reloads.succeeded,
            lambda: reloads.read_at,
            lambda: stream.waiting if stream is not None else 0,
            lambda: stream.lost if stream is not None else 0,
        )
    )
    pages = Pages(health.report, health.live, telemetry.metrics.page)
    server = WebServer(slack.events_at, slack.health_at, pages, signals.fail)
    server.start()
    lock = StoreLock(settings.store.url.get_secret_value())
    try:
        identity = _identity(client, signals) if _alone(lock, signals) else None
        if identity is not None:
            store = _store(settings, lock, telemetry.metrics, partial(_tell, stream))
            shared = SharedDeduplication(store.deliveries)
            bot = SessionBot(client, identity, slack.signing_secret, telemetry, shared)
            store.database.waits = partial(bot.waits_for, STORE.what)
            bot.periodically(LEASE.total_seconds() / 4, shared.look_after, to_the_end=True)
            running = _Running(_Parts(client, slack, identity, bot, store, telemetry, health, Grace(), signals.fail))
            running.run(settings, server, signals)
    finally:
        server.stop()
        client.close()
        lock.release()
        if stream is not None:
            stream.close(LAST_ACTS)
    return 1 if signals.failed else 0


def _identity(client: Client, signals: Signals) -> Identity | None:
    return until_slack_answers(partial(Identity.read, client), signals, "SLACK_BOT_TOKEN")


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


def _tell(stream: AuditStream | None, acts: Sequence[Recorded]) -> None:
    """Tell acts to the log, and to whom they are sent on. Never raises: they are on record."""
    try:
        closing_log.tell(acts)
        if stream is not None:
            stream.send(acts)
    except Exception:
        log.exception("acts are on record, and not told")


def _store(
    settings: Settings, lock: StoreLock, metrics: Metrics, recorded: Callable[[Sequence[Recorded]], None]
) -> Store:
    """Open the store and prepare it. Raises ``ConfigurationError`` where it is for newer bots alone."""
    database = Database(settings.store.url.get_secret_value(), settings.store.encryption, lock)
    database.quiet_for = settings.longest_budget
    database.outage = Outage()
    database.recorded = recorded

    def create() -> str:
        try:
            database.create()
        except StoreTooNewError as error:
            return error.sentence
        except StoreError:
            pass  # it has said so, and is tried again
        return ""

    # A server that hangs is tried on in the background: the bot is at work before.
    asked = ask_each({"store": create}, STORE_WITHIN) if database.shared else {"store": create()}
    if (too_new := asked.get("store")) is None:
        log.warning("store has not answered yet, trying again")
    elif too_new:
        database.close()
        raise ConfigurationError([f"store.url: {too_new}"])
    if open_to_others := database.open_to_others():
        log.warning("store open to others", problem=open_to_others)
    return Store(database, metrics.concluded)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is made once, whatever the configuration becomes."""

    client: Client
    slack: SlackSettings
    identity: Identity
    bot: SessionBot
    store: Store
    telemetry: BotTelemetry
    health: Health
    grace: Grace
    fail: Callable[[], object]  # ends the bot from within


class _Running:
    """The bot at work, and the configuration that it works with now; another may take its place."""

    def __init__(self, parts: _Parts) -> None:
        self.service = SessionService([])
        self._parts = parts
        self._bot = parts.bot
        self._store = parts.store
        self._settings: Settings | None = None
        self._tenants: NamedTenants | None = None
        self._reloading = threading.Lock()
        # What these know outlives a reload.
        who = parts.identity
        self._directory = SlackDirectory(parts.client, who.team, parts.bot.waits_for, enterprise=who.enterprise)
        self._shared_channels = SharedChannels(parts.client, parts.bot.waits_for)
        self._follow_ups = FollowUps(lambda: self.service, parts.store, parts.store.database.clock)
        self._adviser = Adviser(lambda: self.service, parts.store, parts.store.database.clock)
        self._attempts = OpenAttempts(parts.store)
        self._cards = CardWriter()
        self._retention = Retention(parts.store)

    def run(self, settings: Settings, server: WebServer, signals: Signals) -> None:
        """Answer Slack until a signal comes, then finish what is under way."""
        self.use(settings)
        self._parts.telemetry.metrics.read_out(lambda: self._bot.waiting, self.pools)
        self._bot.periodically(STORE_AGAIN, self._look_after_store)
        self._bot.periodically(RETENTION_EVERY, self._let_go)
        self._bot.periodically(KEEP_WARM_EVERY, self._keep_warm)
        self._bot.periodically(LEASE.total_seconds() / 4, self._attempts.renew, to_the_end=True)
        link = self._link(signals)
        close_link = link.close if link is not None else server.stop
        try:
            if self._is_delivered_to(link, server, signals):
                self._parts.health.ready()
                log.info("ready", version=__version__, sources=list(self.service.names))
            signals.wait(self.reload)
            log.info("stopping")
            self._parts.grace.end_in_time()
        finally:
            self._bot.stop(partial(self._last_cards, close_link))
            server.stop()
            self.service.close()
            self._store.database.close()
        log.info("stopped")

    def _look_after_store(self) -> None:
        """Prepare it where it was away at the start; end where a newer bot has made it one for its like alone."""
        try:
            self._store.database.look_after()
        except StoreTooNewError as error:
            too_new = error.sentence
        else:
            return
        log.error("this bot is too old for its store, so it ends", error=too_new)
        self._parts.fail()

    def _link(self, signals: Signals) -> SocketLink | None:
        """Make what Slack delivers on in Socket Mode."""
        app_token = self._parts.slack.app_token
        if app_token is None:
            return None
        health, token = self._parts.telemetry.slack, app_token.get_secret_value()
        link = SocketLink(self._bot.bolt, self._parts.client, token, health.connected_changed, signals.fail)
        health.connected = link.connected
        return link

    def _is_delivered_to(self, link: SocketLink | None, server: WebServer, signals: Signals) -> bool:
        """Take what Slack delivers from now on, and wait until it does; False when told to end meanwhile."""
        if link is None:
            server.take_events(self._bot.bolt)
            return True
        link.start()
        return until_slack_delivers(link, signals)

    def _last_cards(self, close_link: Callable[[], object]) -> None:
        self._attempts.settle_within(LAST_RECORDS)
        self._cards.close(LAST_CARDS)
        close_link()

    def pools(self) -> dict[str, PoolUse]:
        """How busy the connections of each data source are."""
        service = self.service  # another one may take its place meanwhile
        return {name: service.source(name).pool_use for name in service.names}

    def use(self, settings: Settings) -> None:
        """Work with these settings from now on; what is under way ends with those before."""
        before = {name: self.service.source(name) for name in self.service.names}
        sources = self._sources(settings, before)
        self._parts.telemetry.metrics.visits(settings.data_sources)
        self.service = service = SessionService(sources)
        self._bot.register(self._registers(settings, service))
        self._store.database.quiet_for = settings.longest_budget
        checks = {source.name: source.check for source in sources}
        self._parts.health.watch(self._store.database.check, self._ask_slack_again, checks, lambda: self._bot.stopping)
        self._settings, self._tenants = settings, NamedTenants(settings)
        for name, source in before.items():
            if source not in sources:
                source.close()
                log.info("data source closed", source=name)
        threading.Thread(target=self._keep_warm, name="warm-up", daemon=True).start()

    def _sources(self, settings: Settings, before: Mapping[str, DataSource]) -> list[DataSource]:
        """Make the data sources; one that has not changed keeps its connections."""
        visited, waits_for = self._parts.telemetry.metrics.visited, self._bot.waits_for
        limit = settings.triage.timeout
        wanted = [
            data_source(name, source, visited, waits_for, limit) for name, source in settings.data_sources.items()
        ]
        return [before[one.name] if one.name in before and before[one.name].is_like(one) else one for one in wanted]

    def _registers(self, settings: Settings, service: SessionService) -> list[Register]:
        """Make everything that answers people, as functions that announce what it answers to."""
        parts, store, now, people = self._parts, self._store, self._store.database.clock, self._directory
        is_barred = _nowhere if settings.allow_shared_channels else self._shared_channels.is_shared
        access = Access(access_rules(settings), people, read_only(settings), is_barred)
        rules, defaults = closing_rules(settings), channel_defaults(settings)
        shown = {name: _SHOWN[one.show_sql] for name, one in settings.data_sources.items()}
        disclosures = Disclosures(access, service, shown)
        requests = ClosingRequests(service, access, store, rules, now, self._adviser)
        approvals = Approvals(access, store, rules, now)
        wait = parts.grace.wait
        closer = Closer(service, approvals, store, rules, self._attempts, self._follow_ups, now, wait)
        record = AuditTrail(store, access, disclosures, now)
        break_glass = BreakGlass(access, approvals, store, rules, now)
        messages = Messages(partial(update, parts.client), partial(post_in, parts.client), partial(tell, parts.client))
        keeper = CardKeeper(store, approvals, break_glass, disclosures, messages, self._cards)
        cards = closing_cards.ClosingCards(
            store,
            requests,
            approvals,
            break_glass,
            BudgetExtensions(access, store, rules, now),
            closer,
            self._follow_ups,
            disclosures,
            keeper,
        )
        looks = Looks()
        lists = sessions.SessionList(service, access, defaults, disclosures)
        show_command = show.ShowCommand(service, record, access, defaults, disclosures, self._adviser)
        statistics_command = statistics.StatisticsCommand(service, access, defaults, disclosures, lists.answer)
        locks_command = locks.LocksCommand(service, access, defaults, disclosures, self._adviser)
        triage_command = triage.TriageCommand(
            service,
            requests,
            access,
            defaults,
            disclosures,
            triage_thresholds(settings),
            self._adviser,
            keeper.post,
        )
        transactions_command = transactions.TransactionsCommand(service, access, defaults, disclosures)
        verbs: dict[str, Verb] = {
            triage.NAME: triage_command.answer,
            locks.NAME: locks_command.answer,
            transactions.NAME: transactions_command.answer,
            show.NAME: show_command.answer,
            statistics.NAME: statistics_command.answer,
            variables.NAME: variables.VariablesCommand(service, access, defaults).answer,
            deadlocks.NAME: deadlocks.DeadlocksCommand(service, access, defaults, disclosures).answer,
            audit.NAME: audit.AuditCommand(service, record, access, defaults, people.name_of, people.called).answer,
            sources.NAME: sources.SourcesCommand(service, access, looks).answer,
        }
        waits: dict[str, Asked | AskedBy] = {
            audit.NAME: STORE,
            sources.NAME: EVERY_SOURCE,
            triage.NAME: triage_command.asked,
        }
        kill_command = kill_session.KillSessionCommand(service, requests, access, defaults, keeper.post)
        diagnoses = (locks.NAME, transactions.NAME)
        alone = dict.fromkeys(locks.ALONE, locks.NAME) | dict.fromkeys(transactions.ALONE, transactions.NAME)
        return [
            partial(sessions.register, command=sessions.SessionsCommand(lists, verbs, waits, TOPICS, diagnoses, alone)),
            partial(locks.register, command=locks_command),
            partial(triage.register, command=triage_command),
            partial(transactions.register, command=transactions_command),
            partial(show.register, command=show_command),
            partial(statistics.register, command=statistics_command),
            partial(home.register, command=home.HomeCommand(service, requests, access, now, looks)),
            partial(kill_session.register, command=kill_command),
            partial(closing_cards.register, cards=cards),
        ]

    def reload(self) -> None:
        """Read the configuration again, in a thread of its own; what is wrong is refused whole."""
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        reloads = self._parts.health.reloads
        with self._reloading:
            reloads.begin()
            succeeded = False
            try:
                succeeded = self._read_again()
            except Exception:
                log.exception("new configuration not taken, restart the bot")
            finally:
                reloads.end(succeeded=succeeded)

    def _read_again(self) -> bool:
        """Read the configuration and work with it from now on; False where it is refused."""
        loaded = load()
        problems = self._refusals(loaded)
        if problems or loaded.settings is None:
            log.error("new configuration refused, the one before stays", problems=problems)
            return False
        self.use(loaded.settings)
        log.info("configuration read again", sources=list(self.service.names), rules=len(loaded.settings.access))
        return True

    def _refusals(self, loaded: Loaded) -> list[str]:
        problems, before = list(loaded.problems), self._settings
        if before is None or loaded.settings is None:
            return problems
        at_start = "is read at the start only; restart the bot to change it"
        if loaded.slack != self._parts.slack:
            problems.append(
                f"SLACK_…, PORT, HEALTH_PORT, …BIND_ADDRESS: what reaches Slack, and where the bot listens, {at_start}"
            )
        changed = [key for key, value in before.store if getattr(loaded.settings.store, key) != value]
        problems += [f"store.{key}: {at_start}" for key in changed]
        others = {name: one for name, one in loaded.data_sources.items() if one != before.data_sources.get(name)}
        return problems + preflight.refused_logins(others, data_source)

    def _let_go(self) -> None:
        """Let go of records that are old enough."""
        if self._settings is not None and self._settings.store.keep is not None:
            self._retention.let_go(self._settings.store.keep)

    def _keep_warm(self) -> None:
        """Make the first connection of each data source before somebody needs it; keep servers from closing it."""
        service, tenants = self.service, self._tenants
        if tenants is not None:
            ask_each({name: partial(_warm, tenants, service.source(name)) for name in service.names}, KEEP_WARM_EVERY)

    def _ask_slack_again(self) -> None:
        slack = self._parts.telemetry.slack
        if slack.unreachable or slack.refused:
            with contextlib.suppress(*CALL_ERRORS):
                self._parts.client.auth_test()


def _nowhere(_channel: str) -> bool:
    return False


def _warm(tenants: NamedTenants, source: DataSource) -> None:
    """Try a data source, and where it answers ask it for its tenants; log why it does not, and what it lacks."""
    try:
        source.check()
    except SessionBotError as error:
        log.warning("data source not ready", source=source.name, error=str(error))
        return
    tenants.ask(source)
    for unconfirmed in tenants.problems():
        log.warning("tenant name not confirmed", problem=unconfirmed)
