"""What `check` tries, and that one data source never takes the others down, on a real MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.errors import DataSourceError
from bot.operations import preflight
from bot.operations.reports import Verdict
from bot.sessions import probing
from bot.sessions.database import Connection
from bot.sessions.source import DataSource
from bot.settings import DataSourceSettings, Loaded, Settings
from bot.wiring import data_source
from sandbox.databases.mariadb import EmbeddedMariaDB

ACCOUNT, PASSWORD = "checked_bot", "service-password"
Load = Callable[..., Loaded]


@pytest.fixture
def load(mariadb: EmbeddedMariaDB, tmp_path: Path) -> Iterator[Load]:
    """Give what makes a configuration of data sources; by itself each logs in as an account with all grants."""
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {ACCOUNT}")
        cursor.execute(f"CREATE USER {ACCOUNT} IDENTIFIED BY '{PASSWORD}'")
        cursor.execute(f"GRANT PROCESS, CONNECTION ADMIN ON *.* TO {ACCOUNT}")

        def read(**sources: dict[str, object]) -> Loaded:
            its = {"host": mariadb.host, "port": mariadb.port, "user": ACCOUNT, "password": PASSWORD}
            access = [{"who": ["U01ALICE"], "may": ["view", "close"]}]
            store = {"url": f"sqlite:///{tmp_path / 'store.db'}"}
            given = {name: {**its, **more} for name, more in sources.items()}
            settings = Settings.model_validate({"data_sources": given, "access": access, "store": store})
            return Loaded(slack=None, settings=settings, data_sources=settings.data_sources, problems=[])

        yield read
        cursor.execute(f"DROP USER {ACCOUNT}")


def told(loaded: Loaded, name: str) -> tuple[Verdict, str]:
    (found,) = [one for one in preflight.everything(loaded, None, data_source) if f"data_sources.{name}:" in one[1]]
    return found


def test_whatever_goes_wrong_at_a_data_source_is_its_own(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = probing.probe

    def fails(kind: probing.Kind, connection: object, name: str, *more: object) -> object:
        if name == "odd":
            raise RuntimeError("'pynacl' package is required")
        return probe(kind, connection, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(probing, "probe", fails)
    loaded = load(odd={}, well={})
    verdict, said = told(loaded, "odd")
    assert verdict is Verdict.FAILS
    assert "Data source odd cannot be used: the bot itself failed at it (RuntimeError)" in said
    assert told(loaded, "well")[0] is Verdict.WORKS
    assert preflight.refusals(loaded, None, data_source) == []
    odd = data_source("odd", loaded.data_sources["odd"])
    assert "RuntimeError" in odd.health(None).problem
    with pytest.raises(DataSourceError, match="RuntimeError"):
        odd.check()
    odd.close()


def test_a_login_that_is_refused_keeps_the_bot_from_starting_only_where_no_other_is_left(load: Load) -> None:
    wrong = {"password": "wrong"}
    assert preflight.refusals(load(refused=wrong, well={}), None, data_source) == []
    (said,) = preflight.refusals(load(refused=wrong), None, data_source)
    assert said.startswith("data_sources.refused: Data source refused")
    assert "It saw the bot as checked_bot@127.0.0.1." in said


def test_check_beside_a_running_bot_that_has_the_only_connection_is_no_failure(
    load: Load, mariadb: EmbeddedMariaDB
) -> None:
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"ALTER USER {ACCOUNT} WITH MAX_USER_CONNECTIONS 1")
        loaded = load(prod={})
        running = data_source("prod", loaded.data_sources["prod"])
        running.check()
        verdict, said = told(loaded, "prod")
        running.close()
        assert verdict is Verdict.UNTRIED
        assert "has as many connections open as it may (max_user_connections)" in said
        cursor.execute(f"ALTER USER {ACCOUNT} WITH MAX_USER_CONNECTIONS 0 MAX_QUERIES_PER_HOUR 1")
        assert told(loaded, "prod")[0] is Verdict.FAILS


def test_tenants_that_keep_everybody_from_listing_anything_are_told(load: Load) -> None:
    verdict, said = told(load(crm={"tenants": ["shop"]}), "crm")
    assert verdict is Verdict.FAILS
    assert "crm has no tenants, yet its setting tenants" in said


@pytest.mark.parametrize(
    ("revoked", "more", "verdict", "says"),
    [
        ("", {}, Verdict.WORKS, "its login sees everybody's sessions, may close everybody's sessions"),
        ("CONNECTION ADMIN", {}, Verdict.LESS, "GRANT CONNECTION ADMIN ON *.* TO it."),
        ("CONNECTION ADMIN", {"read_only": True}, Verdict.WORKS, "nothing is closed there (read_only)"),
        ("PROCESS", {}, Verdict.FAILS, "GRANT PROCESS ON *.* TO it"),
    ],
)
def test_what_a_login_lacks_is_told_with_the_grant(
    load: Load, mariadb: EmbeddedMariaDB, revoked: str, more: dict[str, object], verdict: Verdict, says: str
) -> None:
    with mariadb.connect() as admin, admin.cursor() as cursor:
        if revoked:
            cursor.execute(f"REVOKE {revoked} ON *.* FROM {ACCOUNT}")
    found, said = told(load(prod=more), "prod")
    assert found is verdict
    assert says in said


@pytest.fixture
def source(load: Load) -> Iterator[DataSource]:
    settings: DataSourceSettings = load(prod={}).data_sources["prod"]
    made = data_source("prod", settings)
    yield made
    made.close()


def test_health_tries_what_lists_and_closes_run_twice_a_minute_and_in_between_whether_it_answers(
    source: DataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("bot.sessions.database.Connection._run", _noting(asked))
    source.check()
    tried = len(asked)
    assert any("LIMIT %s OFFSET %s" in one for one in asked), "a page"
    assert any("here.in_transaction" in one for one in asked), "a look"
    assert "START TRANSACTION WITH CONSISTENT SNAPSHOT" in asked
    assert not any(one.startswith("KILL") for one in asked)
    source.check()
    assert 0 < len(asked) - tried < 5
    monkeypatch.setattr("bot.sessions.source.TRY_EVERY", 0.0)
    asked.clear()
    source.check()
    assert any("here.in_transaction" in one for one in asked)


def _noting(asked: list[str]) -> Callable[..., object]:
    run = Connection._run

    def noted(self: Connection, sql: str, *more: object) -> object:
        asked.append(sql)
        return run(self, sql, *more)  # type: ignore[arg-type]

    return noted
