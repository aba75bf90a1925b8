"""Logins that servers refuse: each is told with a sentence and a way out, on real MariaDBs, MySQL and the kernels."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pymysql
import pytest
from pydantic import SecretStr

from bot.errors import AccountLimitError, DataSourceError, DataSourceUnreachableError, LoginRefusedError
from bot.sessions import parsec, probing
from bot.sessions.endpoint import Endpoint
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.tls import Tls, TlsMode
from sandbox.databases.embedded import EmbeddedServer
from tests.conftest import leave_out
from tests.support.forged import Forged

USER, PASSWORD = "refused_bot", "service-password"
MARIADBS, MYSQL, KERNELS = ("mariadb", "mariadb118"), ("mysql",), ("oceanbase", "seekdb14")
IDS = {"oceanbase": "oceanbase-4.3.5", "seekdb14": "seekdb-1.4"}
BY_PASSWORD = f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'"
Make = Callable[..., DataSource]


@dataclass(frozen=True)
class Case:
    """An account that is not let in: how it is made, what is told, and what undoes it beside dropping it."""

    on: tuple[str, ...]
    made: tuple[str, ...]
    told: str
    undone: tuple[str, ...] = ()
    kind: type[DataSourceError] = LoginRefusedError
    given: dict[str, Any] = field(default_factory=dict)
    account: str = USER


def altered(how: str) -> tuple[str, ...]:
    return BY_PASSWORD, f"ALTER USER {USER} {how}"


WRONG = "refused the login of refused_bot: user, password, tenant or cluster is wrong"
CASES = {
    "a wrong password": Case((*MARIADBS, *MYSQL, *KERNELS), (BY_PASSWORD,), WRONG, given={"password": "wrong"}),
    "for another host": Case(  # MySQL then asks by a plugin of its choice
        MARIADBS,
        (f"CREATE USER {USER}@'192.0.2.9' IDENTIFIED BY '{PASSWORD}'",),
        "It saw the bot as refused_bot@127.0.0.1.",
        account=f"{USER}@'192.0.2.9'",
    ),
    "locked": Case((*MARIADBS, *MYSQL, *KERNELS), altered("ACCOUNT LOCK"), "is locked. ALTER USER … ACCOUNT UNLOCK"),
    "expired": Case((*MARIADBS, *MYSQL), altered("PASSWORD EXPIRE"), "its password has expired. Set a new one"),
    "blocked after wrong passwords, MySQL": Case(
        MYSQL,
        altered("FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1"),
        "blocked after too many wrong passwords (Access denied",
        given={"password": "wrong"},
    ),
    "blocked after wrong passwords, MariaDB": Case(
        MARIADBS,
        (BY_PASSWORD, "SET GLOBAL max_password_errors = 1"),
        "Put the password right, then FLUSH PRIVILEGES",
        ("SET GLOBAL max_password_errors = 4294967295",),
        given={"password": "wrong"},
    ),
    "a failing init_connect": Case(
        (*MARIADBS, *MYSQL),
        (BY_PASSWORD, "SET GLOBAL init_connect = 'SELECT 1 FROM nowhere.nothing'"),
        "it runs init_connect for each new connection, and that failed",
        ("SET GLOBAL init_connect = ''",),
    ),
    "a failing init_connect, OceanBase": Case(  # which passes on what that met
        KERNELS,
        (BY_PASSWORD, "SET GLOBAL init_connect = 'SELECT 1 FROM nowhere.nothing'"),
        "what init_connect runs at each login",
        ("SET GLOBAL init_connect = ''",),
    ),
    "by the server's own socket": Case(
        MARIADBS,
        (f"CREATE USER {USER} IDENTIFIED VIA unix_socket",),
        "or there is no such account: MariaDB answers both alike",
    ),
    "by a plugin that is not there": Case(
        MYSQL,
        (
            "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'",
            f"CREATE USER {USER} IDENTIFIED WITH auth_socket",
            "UNINSTALL PLUGIN auth_socket",
        ),
        "Plugin 'auth_socket' is not loaded, and the account logs in by it",
    ),
    "an old password": Case(
        MARIADBS,
        (f"CREATE USER {USER} IDENTIFIED VIA mysql_old_password USING '0123456789abcdef'",),
        "has a password in the old form",
    ),
    "only with TLS": Case(
        MYSQL,
        (BY_PASSWORD, "SET GLOBAL require_secure_transport = ON"),
        'it takes no login without TLS. Set tls = "required"',
        ("SET GLOBAL require_secure_transport = OFF",),
        given={"tls": "off"},
    ),
    "only with TLS, by the account": Case(
        (*MARIADBS, *MYSQL), altered("REQUIRE SSL"), "or wants TLS or a client certificate", given={"tls": "off"}
    ),
    "a server that is offline": Case(
        MYSQL,
        (BY_PASSWORD, "SET GLOBAL offline_mode = ON"),
        "takes no connections now: The server is currently in offline mode",
        ("SET GLOBAL offline_mode = OFF",),
        DataSourceUnreachableError,
    ),
    "so many logins an hour": Case(
        MYSQL,
        altered("WITH MAX_QUERIES_PER_HOUR 1"),
        "ALTER USER … WITH MAX_QUERIES_PER_HOUR 0",
        kind=AccountLimitError,
    ),
}
EACH = [(server, name) for name, case in CASES.items() for server in case.on]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def make(server: EmbeddedServer) -> Iterator[Make]:
    """Make data sources; they are closed after the test."""
    made: list[DataSource] = []

    def log_in(password: str = PASSWORD, tls: TlsMode = "preferred", user: str = USER) -> DataSource:
        endpoint = Endpoint("crm", server.host, server.port, user, SecretStr(password), Tls(tls))
        made.append(DataSource(endpoint, DataSourceOptions()))
        return made[-1]

    yield log_in
    for one in made:
        one.close()


@contextlib.contextmanager
def account(server: EmbeddedServer, case: Case) -> Iterator[None]:
    """Make it as root, who is logged in before anything is asked of new logins."""
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {case.account}")
        try:
            for statement in case.made:
                cursor.execute(statement)
            yield
        finally:
            for statement in (*case.undone, f"DROP USER {case.account}"):
                cursor.execute(statement)


@pytest.mark.parametrize(
    ("server", "name"), EACH, indirect=["server"], ids=[f"{IDS.get(server, server)}: {name}" for server, name in EACH]
)
def test_a_refused_login_is_told_with_a_way_out(server: EmbeddedServer, make: Make, name: str) -> None:
    case = CASES[name]
    with account(server, case):
        for _ in range(2):  # the first may be the one wrong password that is forgiven
            with pytest.raises(DataSourceError) as refused:
                make(**case.given).check()
        assert type(refused.value) is case.kind, refused.value
        assert case.told in refused.value.sentence
        assert PASSWORD not in refused.value.sentence


@pytest.mark.parametrize("server", [*MARIADBS, *MYSQL, *KERNELS], indirect=True, ids=lambda one: IDS.get(one, one))
def test_an_account_with_one_connection_is_told_as_busy_and_works_with_that_one(
    server: EmbeddedServer, make: Make
) -> None:
    limited = Case((), altered("WITH MAX_USER_CONNECTIONS 1"), "")
    with account(server, limited):
        running = make()
        running.check()
        with pytest.raises(AccountLimitError, match="as many connections open as it may") as told:
            make().try_login()
        assert "those of a bot that runs included" in told.value.sentence
        running.check()
        running.close()


@pytest.mark.parametrize(
    ("server", "plugin"), [(one, "ed25519") for one in MARIADBS] + [("mariadb118", "parsec")], indirect=["server"]
)
def test_an_account_of_mariadb_may_log_in_by_a_signature(server: EmbeddedServer, make: Make, plugin: str) -> None:
    with server.connect() as admin, admin.cursor() as cursor:
        try:
            cursor.execute(f"INSTALL SONAME 'auth_{plugin}'")
        except pymysql.err.OperationalError:
            leave_out(f"this MariaDB came without auth_{plugin}.so; bash .ci/servers fetches it for the newer one")
        try:
            made = f"CREATE USER {USER} IDENTIFIED VIA {plugin} USING PASSWORD('{PASSWORD}')"
            with account(server, Case((), (made,), "")):
                make().check()
                with pytest.raises(LoginRefusedError, match="or cluster is wrong"):
                    make(password="wrong").check()
        finally:
            cursor.execute(f"UNINSTALL SONAME 'auth_{plugin}'")


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_without_its_package_ed25519_is_told_with_what_to_install(
    server: EmbeddedServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymysql._auth._nacl_bindings", False)
    monkeypatch.setitem(sys.modules, "nacl", None)
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("INSTALL SONAME 'auth_ed25519'")
        try:
            made = f"CREATE USER {USER} IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')"
            with account(server, Case((), (made,), "")), pytest.raises(LoginRefusedError) as told:
                make().check()
        finally:
            cursor.execute("UNINSTALL SONAME 'auth_ed25519'")
    assert 'pip install "session-bot[ed25519]"' in told.value.sentence
    assert "no such account" in told.value.sentence


def test_without_its_package_a_password_without_tls_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pymysql._auth._have_cryptography", False)
    with Forged("caching_sha2_password") as server:
        endpoint = Endpoint("crm", server.host, server.port, USER, SecretStr(PASSWORD))
        with pytest.raises(LoginRefusedError, match=r'pip install "PyMySQL\[rsa\]"'):
            DataSource(endpoint, DataSourceOptions()).try_login()


@pytest.mark.parametrize("plugin", ["authentication_webauthn_client", "auth_gssapi_client", "made_up"])
def test_a_plugin_that_the_bot_does_not_know_is_named(plugin: str) -> None:
    with Forged("mysql_native_password", plugin) as server:
        endpoint = Endpoint("crm", server.host, server.port, USER, SecretStr(PASSWORD))
        with pytest.raises(LoginRefusedError, match=f"logs in by the plugin {plugin}, which the bot does not know"):
            DataSource(endpoint, DataSourceOptions()).try_login()
        assert not server.knows(PASSWORD)


@pytest.mark.parametrize("how", [b"", b"P", b"Q\x00" + bytes(18), b"P\x04" + bytes(18), b"P\x00" + bytes(17)])
def test_a_challenge_of_parsec_in_another_form_is_not_answered(how: bytes) -> None:
    with pytest.raises(ValueError, match=r"b'"):
        parsec.answer(b"password", bytes(32), how)


@pytest.mark.parametrize("server", [*MARIADBS, *MYSQL], indirect=True)
def test_what_a_server_does_not_support_of_the_preparation_is_no_oracle_mode_and_no_failure(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsupported = "SELECT 1 WHERE 1 IN (SELECT 1 FROM information_schema.SCHEMATA LIMIT 1)"
    with server.connect() as client, client.cursor() as cursor, pytest.raises(pymysql.err.NotSupportedError) as met:
        cursor.execute(unsupported)
    assert met.value.args[0] == 1235
    monkeypatch.setattr(probing, "PREPARE", {"auto": (unsupported, *probing.PREPARE["auto"])})
    endpoint = Endpoint("crm", server.host, server.port, "root", SecretStr(server.password))
    with contextlib.closing(DataSource(endpoint, DataSourceOptions())) as source:
        source.check()
