"""Tries what a configuration names: Slack, the store and every data source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from slack_sdk import WebClient

from bot.access import EVERYBODY
from bot.closing.store import audit_log
from bot.closing.store.database import Database
from bot.errors import (
    AccountLimitError,
    ConfigurationError,
    DataSourceError,
    LoginRefusedError,
    PortInUseError,
    SessionBotError,
    StoreError,
    StoreTooNewError,
)
from bot.operations import audit_stream, slack_trial
from bot.operations.named_tenants import NamedTenants
from bot.operations.reload import asked
from bot.operations.reports import Report, Verdict
from bot.operations.web_server import listen
from bot.sessions.asking import ask_each
from bot.sessions.details import Abilities, Reach
from bot.sessions.source import DataSource
from bot.settings import DataSourceSettings, Loaded, Settings, SlackSettings
from bot.settings.expected import as_written
from bot.settings.problems import without_second_persons

SOURCES_AT_ONCE = 16
LOGINS_WITHIN = 1.5  # seconds; a bot that is restarted in an incident is at work before its data sources are


MakeSource = Callable[[str, DataSourceSettings], DataSource]


def everything(loaded: Loaded, client: WebClient | None, make_source: MakeSource) -> list[Report]:
    """Try all of it, one sentence for each."""

    tenants = NamedTenants(loaded.settings) if loaded.settings is not None else None

    def source(named: tuple[str, DataSourceSettings]) -> Report:
        made = make_source(*named)
        try:
            said, able = made.description(), made.abilities()
            if tenants is not None:
                tenants.ask(made)
            read_only = named[1].read_only
            return _verdict(able, read_only=read_only), f"data_sources.{named[0]}: {said}{_reach(able, read_only)}"
        except AccountLimitError as error:
            verdict = Verdict.UNTRIED if error.connections else Verdict.FAILS
            return verdict, f"data_sources.{named[0]}: {error}"
        except SessionBotError as error:
            return Verdict.FAILS, f"data_sources.{named[0]}: {error}"
        finally:
            made.close()

    reports: list[Report] = [(Verdict.FAILS, problem) for problem in loaded.problems]
    reports += [(Verdict.LESS, warning) for warning in loaded.warnings]
    if client is not None and loaded.slack is not None:
        reports += slack_trial.everything(client, loaded.slack, loaded.settings)
    reports += [
        *_ports(loaded.slack),
        *_store(loaded),
        *_record(loaded),
        *_audit_log(loaded),
        *_break_glass(loaded.settings),
        *_triage(loaded.settings),
    ]
    if loaded.settings is not None:
        reports += [(Verdict.FAILS, problem) for problem in without_second_persons(loaded.settings)]
    with ThreadPoolExecutor(SOURCES_AT_ONCE) as pool:
        reports += pool.map(source, loaded.data_sources.items())
    return reports + [(Verdict.FAILS, problem) for problem in (tenants.problems() if tenants is not None else ())]


def _verdict(able: Abilities, *, read_only: bool) -> Verdict:
    """Say whether a data source can be used: a login that sees its own sessions alone lists nothing to anybody."""
    if able.sees is Reach.OWN:
        return Verdict.FAILS
    return Verdict.LESS if able.lacks or (able.closing_lacks and not read_only) else Verdict.WORKS


def _reach(able: Abilities, read_only: bool) -> str:
    closes = "nothing is closed there (read_only)" if read_only else f"may close {_WHOSE[able.closes]}"
    return f"; its login sees {_WHOSE[able.sees]}, {closes}"


_WHOSE: Mapping[Reach | None, str] = {
    Reach.ALL: "everybody's sessions",
    Reach.MOST: "everybody's sessions but those of accounts with SYSTEM_USER",
    Reach.TENANT: "those of its tenant",
    Reach.OWN: "only its own",
    None: "what its server lets it",
}


def _break_glass(settings: Settings | None) -> list[Report]:
    """Find data sources where break-glass is set and nobody could be told of it: ``EVERYBODY`` is nobody by name."""
    if settings is None:
        return []
    named = [rule for rule in settings.access if "approve" in rule.may and rule.who - {EVERYBODY}]
    return [
        (
            Verdict.FAILS,
            f"data_sources.{name}.break_glass_after: break-glass can never be used: no access rule names a person or "
            'user group who may approve there ("*" names nobody)',
        )
        for name, source in settings.data_sources.items()
        if source.break_glass_after is not None
        and not source.read_only
        and not any(rule.data_sources is None or name in rule.data_sources for rule in named)
    ]


def refusals(loaded: Loaded, client: WebClient | None, make_source: MakeSource) -> list[str]:
    """What must be mended before the bot can be of use. A server that is down is not among it."""
    tried = [slack_trial.token(client)[0]] if client is not None else []
    tried += [] if _is_shared(loaded.settings) else _store(loaded)
    problems = [*loaded.problems, *(text for verdict, text in tried if verdict is Verdict.FAILS)]
    refused = refused_logins(loaded.data_sources, make_source)
    # One data source never takes the others down; told with other problems, or where none would be left.
    return problems + refused if problems or len(refused) == len(loaded.data_sources) else []


def refused_logins(data_sources: Mapping[str, DataSourceSettings], make_source: MakeSource) -> list[str]:
    """Say which of these data sources refuse the login; one that is down, or slow to say so, does not."""

    def login(name: str, source: DataSourceSettings) -> str | None:
        try:
            make_source(name, source).try_login()
        except LoginRefusedError as error:
            return f"data_sources.{name}: {error}"
        except DataSourceError:
            return None  # it is down; the bot starts all the same and recovers with it
        return None

    logins = {name: partial(login, name, source) for name, source in data_sources.items()}
    return list(filter(None, ask_each(logins, LOGINS_WITHIN).values()))


def _ports(slack: SlackSettings | None) -> list[Report]:
    """Say where the bot would listen, and whether it can; one that runs here has its ports already."""
    if slack is None:
        return []
    wanted = {"Slack's requests": slack.events_at, "health and metrics": slack.health_at}
    if slack.events_at == slack.health_at:
        wanted = {"Slack's requests, health and metrics": slack.events_at}
    reports = []
    for what, at in wanted.items():
        if at is None:
            continue
        where = f"port {at.port} of {at.host or 'every address'}"
        try:
            listen(at).close()
            reports.append((Verdict.WORKS, f"{at.port_variable}: {what} on {where}, which is free"))
        except ConfigurationError as error:
            in_use = isinstance(error, PortInUseError)
            runs = in_use and slack.health_at is not None and asked(slack.health_at) is not None
            said = f"{at.port_variable}: {what} on {where}, where a session-bot runs now" if runs else str(error)
            reports.append((Verdict.UNTRIED if runs else Verdict.FAILS, said))
    return reports or [
        (Verdict.WORKS, "HEALTH_PORT: not set, so the bot listens nowhere: there are no health page and no metrics")
    ]


def _store(loaded: Loaded) -> list[Report]:
    """Try the store and say what `run` does to it; nothing is made or changed."""
    if loaded.settings is None:
        return []
    store = _store_of(loaded.settings)
    try:
        deleting = loaded.settings.store.keep is not None
        found, safety = store.preparation(deleting=deleting), store.safety()
        if found.is_needed:
            return [(Verdict.WORKS, f"store: {found}{safety and f'; {safety}'}"), *_open_to_others(store)]
        store.try_writing(deleting=deleting)
        with store.reading() as connection:
            number, chained = audit_log.newest(connection)
    except StoreError as error:
        # A file that cannot be made is a wrong setting; a server may be away and come back.
        away = store.shared and not isinstance(error, StoreTooNewError)
        return [(Verdict.AWAY if away else Verdict.FAILS, f"store.url: {error}")]
    finally:
        store.close()
    newest = f"; the newest record is number {number}, hash {chained[:16]}…" if number else ""
    said = f"store: requests and records can be written; {found}{newest}{safety and f'; {safety}'}"
    return [(Verdict.WORKS, said), *_open_to_others(store)]


def _triage(settings: Settings | None) -> list[Report]:
    """Say from when on triage calls something wrong."""
    if settings is None:
        return []
    said = ", ".join(f"{key} {as_written(value)}" for key, value in settings.triage)
    return [(Verdict.WORKS, f"triage: {said}")]


def _open_to_others(store: Database) -> list[Report]:
    said = store.open_to_others()
    return [(Verdict.LESS, f"store: {said}")] if said else []


def _record(loaded: Loaded) -> list[Report]:
    """Read the whole record and say where it was tampered with."""
    if loaded.settings is None:
        return []
    store = _store_of(loaded.settings)
    reports: list[Report] = []
    try:
        if not store.preparation().is_needed:
            with store.reading() as connection:
                rows = audit_log.whole(connection)
            reports = [(Verdict.FAILS, f"store: {problem}") for problem in audit_log.problems(rows)]
            if not reports:
                without = _without(audit_log.let_go(rows))
                reports = [(Verdict.WORKS, f"store: no record was changed or removed since it was written{without}")]
    except StoreError:
        return []  # told with the store itself
    finally:
        store.close()
    return reports if store.drops_frozen else [*reports, (Verdict.FAILS, f"store: {_HOLDS}")]


def _audit_log(loaded: Loaded) -> list[Report]:
    """Say whether acts can be sent on; the bot starts all the same, since the store has them."""
    place = loaded.settings.store.audit_log if loaded.settings is not None else None
    if place is None:
        return []
    if why := audit_stream.unusable(place):
        return [(Verdict.FAILS, f"store.audit_log: acts cannot be sent on: {why}")]
    where = "standard output" if place == audit_stream.STDOUT else place
    return [(Verdict.WORKS, f"store.audit_log: each act is written to {where}")]


_HOLDS = (
    "its server has none of ob_trx_timeout, idle_transaction_timeout and wait_timeout, so a replica that hangs in "
    "mid-write would block every close; run a single replica, or use another server for the store"
)


def _without(let_go: audit_log.LetGo | None) -> str:
    """Say what is not there because it was let go, for whoever knows whether that was meant."""
    if let_go is None:
        return ""
    by = ", at the word of a store of an older version" if let_go.by_older_version else ""
    when = f"{let_go.at:%Y-%m-%d %H:%M} UTC{by}"
    return f"; records up to number {let_go.last} were deleted on purpose, as recorded on {when}"


def _is_shared(settings: Settings | None) -> bool:
    """Whether the store is on a server, which may be away or hang, and come back: that is no reason not to start."""
    if settings is None:
        return False
    store = _store_of(settings)
    store.close()
    return store.shared


def _store_of(settings: Settings) -> Database:
    store = Database(settings.store.url.get_secret_value(), settings.store.encryption)
    store.quiet_for = settings.longest_budget
    return store
