"""Each setting of TLS on a real MariaDB that has a certificate, the right one or another, or none."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from bot.errors import StoreError, UnsafeConnectionError
from bot.sessions.database import connected, safety
from bot.sessions.endpoint import Endpoint
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.tls import Tls, TlsMode
from sandbox.databases.embedded import DatabaseUnavailable
from sandbox.databases.mariadb import EmbeddedMariaDB, find_server
from sandbox.slack.server import SlackSandbox
from tests.conftest import leave_out
from tests.support.certificates import Authority
from tests.support.forged import Between
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.stores import store_at
from tests.test_main import bot

HOST = "127.0.0.1"
SCHEMA = "tls_test"

LookAt = Callable[[str, int, Tls], str]


class Encrypting:
    """A real MariaDB that speaks TLS, with whatever certificate a test gives it."""

    def __init__(self, folder: Path) -> None:
        self.ours = Authority(folder, "ours")
        self.theirs = Authority(folder, "theirs")
        self._shown = folder / "shown-cert.pem", folder / "shown-key.pem"
        self._put(self.ours.signs("right", HOST))
        self.database = EmbeddedMariaDB(
            server=_with_options(folder, f"--ssl-cert={self._shown[0]}", f"--ssl-key={self._shown[1]}")
        )

    def shows(self, files: tuple[Path, Path]) -> None:
        """Take another certificate from now on."""
        self._put(files)
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("FLUSH SSL")

    def _put(self, files: tuple[Path, Path]) -> None:
        for file, shown in zip(files, self._shown, strict=True):
            shutil.copy(file, shown)


def _with_options(folder: Path, *options: str) -> Path:
    try:
        server = find_server()
    except DatabaseUnavailable as problem:
        leave_out(str(problem))
    script = folder / "mariadbd"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(server))} "$@" {shlex.join(options)}\n', encoding="utf-8")
    script.chmod(0o700)
    return script


@pytest.fixture(scope="module")
def encrypting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypting]:
    server = Encrypting(tmp_path_factory.mktemp("tls"))
    with server.database as database:
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {SCHEMA}")
        yield server


@pytest.fixture
def server(encrypting: Encrypting) -> Encrypting:
    """Give it with the right certificate."""
    encrypting.shows(encrypting.ours.signs("right", HOST))
    return encrypting


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMariaDB]:
    """Give a MariaDB that does not speak TLS; from 11.4 on it does unless it is told not to."""
    with EmbeddedMariaDB(server=_with_options(tmp_path_factory.mktemp("plain"), "--skip-ssl")) as database:
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {SCHEMA}")
        yield database


@pytest.fixture(params=["data source", "past a proxy", "store"])
def look_at(request: pytest.FixtureRequest, encrypting: Encrypting, plain: EmbeddedMariaDB) -> LookAt:
    """Connect in one of the three ways and say how that connection is encrypted."""

    def password_of(port: int) -> str:
        return plain.password if port == plain.port else encrypting.database.password

    def data_source(host: str, port: int, tls: Tls) -> str:
        source = DataSource(
            Endpoint("prod", host, port, "root", SecretStr(password_of(port)), tls), DataSourceOptions()
        )
        with contextlib.closing(source):
            return source.description().partition("PROCESSLIST, ")[2].partition(" (")[0]

    def past_a_proxy(host: str, port: int, tls: Tls) -> str:
        proxy = Endpoint("prod", "10.0.0.9", 2883, "root#prod", SecretStr(password_of(port)), tls)
        direct = proxy.at(f"{HOST}:{port}", "root")
        assert direct is not None
        with connected(direct, ()) as connection:
            (cipher,) = connection.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            assert bool(cipher[1]) == (connection.safety != "not encrypted"), "the server says the same"
            return connection.safety

    def store(host: str, port: int, tls: Tls) -> str:
        url = sa.URL.create("mysql+pymysql", "root", password_of(port), host, port, SCHEMA)
        with store_at(url.render_as_string(hide_password=False), tls) as opened:
            opened.database.create()
            return opened.database.safety()

    return {"data source": data_source, "past a proxy": past_a_proxy, "store": store}[request.param]


def trusting(server: Encrypting) -> Tls:
    return Tls("verified", str(server.ours.file))


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        ("off", "not encrypted"),
        ("preferred", "TLSv1.3, certificate not verified"),
        ("required", "TLSv1.3, certificate not verified"),
        ("verified", "TLSv1.3, certificate verified"),
    ],
)
def test_each_setting_connects_to_the_right_server_and_says_how(
    server: Encrypting, look_at: LookAt, mode: TlsMode, seen: str
) -> None:
    tls = trusting(server) if mode == "verified" else Tls(mode)
    assert look_at(HOST, server.database.port, tls) == seen


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ("of another CA", "unable to get local issuer certificate"),
        ("of another address", "IP address mismatch"),
        ("of a name", "IP address mismatch"),
        ("expired", "certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused_where_it_is_verified_and_there_alone(
    server: Encrypting, look_at: LookAt, certificate: str, why: str
) -> None:
    server.shows(
        {
            "of another CA": lambda: server.theirs.signs("theirs", HOST),
            "of another address": lambda: server.ours.signs("elsewhere", "127.0.0.2"),
            "of a name": lambda: server.ours.signs("named", "localhost"),
            "expired": lambda: server.ours.signs("old", HOST, until=-timedelta(hours=1)),
        }[certificate]()
    )
    with pytest.raises((UnsafeConnectionError, StoreError), match=f"could not be verified: {why}") as told:
        look_at(HOST, server.database.port, trusting(server))
    assert server.database.password not in str(told.value)
    for mode in ("required", "preferred"):
        assert look_at(HOST, server.database.port, Tls(mode)) == "TLSv1.3, certificate not verified"


def test_a_host_name_is_looked_for_in_the_certificate_as_it_is_configured(server: Encrypting) -> None:
    server.shows(server.ours.signs("named", "localhost"))
    endpoint = Endpoint(
        "prod", "localhost", server.database.port, "root", SecretStr(server.database.password), trusting(server)
    )
    with connected(endpoint, ()) as connection:
        assert connection.safety == "TLSv1.3, certificate verified"


def test_without_a_file_of_cas_those_of_the_machine_are_asked(server: Encrypting, look_at: LookAt) -> None:
    with pytest.raises((UnsafeConnectionError, StoreError), match="could not be verified: unable to get local issuer"):
        look_at(HOST, server.database.port, Tls("verified"))


def test_a_file_of_cas_that_was_exchanged_counts_from_the_next_connection_on(
    server: Encrypting, look_at: LookAt, tmp_path: Path
) -> None:
    trusted = tmp_path / "ca.pem"
    shutil.copy(server.theirs.file, trusted)
    tls = Tls("verified", str(trusted))
    with pytest.raises((UnsafeConnectionError, StoreError)):
        look_at(HOST, server.database.port, tls)
    shutil.copy(server.ours.file, trusted)
    assert look_at(HOST, server.database.port, tls) == "TLSv1.3, certificate verified"


def test_all_connections_that_want_the_same_share_what_encrypts_them(tmp_path: Path) -> None:
    ours = str(Authority(tmp_path, "ours").file)
    theirs = Authority(tmp_path, "theirs").file
    assert Tls().context() is Tls("required").context()
    assert Tls("verified").context() is Tls("verified").context() is not Tls().context()
    before = Tls("verified", ours).context()
    assert Tls("verified", ours).context() is before is not Tls("verified").context()
    assert before.verify_mode is ssl.CERT_REQUIRED
    shutil.copy(theirs, ours)
    assert Tls("verified", ours).context() is not before, "the file was exchanged"
    Path(ours).unlink()
    with pytest.raises(OSError, match="No such file"):
        Tls("verified", ours).context()


@pytest.mark.parametrize("mode", ["off", "preferred"])
def test_a_server_without_tls_is_logged_in_to_where_it_is_not_required(
    plain: EmbeddedMariaDB, look_at: LookAt, mode: TlsMode
) -> None:
    assert look_at(HOST, plain.port, Tls(mode)) == "not encrypted"


@pytest.mark.parametrize("mode", ["required", "verified"])
def test_a_server_without_tls_is_refused_where_it_is_required(
    plain: EmbeddedMariaDB, look_at: LookAt, mode: TlsMode
) -> None:
    with pytest.raises((UnsafeConnectionError, StoreError), match="offers no TLS"):
        look_at(HOST, plain.port, Tls(mode))


@pytest.mark.parametrize("mode", ["required", "verified"])
def test_who_takes_tls_out_of_the_greeting_on_the_way_is_sent_nothing(
    server: Encrypting, look_at: LookAt, mode: TlsMode
) -> None:
    with Between(HOST, server.database.port, strips=True) as between:
        with pytest.raises((UnsafeConnectionError, StoreError), match="offers no TLS"):
            look_at(HOST, between.port, trusting(server) if mode == "verified" else Tls(mode))
        assert between.told == b""
        assert look_at(HOST, between.port, Tls()) == "not encrypted", "which is what preferred means"


def test_a_password_that_is_no_ascii_logs_in_and_is_never_quoted(server: Encrypting) -> None:
    with server.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER tls_test IDENTIFIED BY %s", ("größe-€-😀",))
    endpoint = Endpoint("prod", HOST, server.database.port, "tls_test", SecretStr("größe-€-😀"))
    with connected(endpoint, ()) as connection:
        assert connection.rows("SELECT 1") == [(1,)]
    url = f"mysql+pymysql://tls_test:größe-%E2%82%AC-😀@{HOST}:{server.database.port}/{SCHEMA}"
    with store_at(url) as store, pytest.raises(StoreError, match="does not let its account into"):
        store.database.check()  # it is let in, and may not read that schema


def test_check_says_of_each_server_how_it_is_encrypted_and_what_is_wrong(server: Encrypting, tmp_path: Path) -> None:
    source = f'tls = "verified"\ntls_ca = "{server.ours.file}"'
    url = sa.URL.create("mysql+pymysql", "root", server.database.password, HOST, server.database.port, SCHEMA)
    with SlackSandbox(commands=COMMANDS) as slack:
        running = RunningBot(
            slack,
            server.database,
            tmp_path,
            user="root",
            source=source,
            more='tls = "required"',
            store=url.render_as_string(hide_password=False),
        )
        with store_at(url.render_as_string(hide_password=False)) as store:
            store.database.create()
        good = bot("check", tmp_path, running.environment)
        assert good.returncode == 0, good.stdout
        assert "PROCESSLIST, TLSv1.3, certificate verified (" in good.stdout
        assert (
            "ok       store: requests and records can be written; schema version 1; TLSv1.3, certificate not verified\n"
            in good.stdout
        )
        server.shows(server.theirs.signs("theirs", HOST))
        bad = bot("check", tmp_path, running.environment)
        assert bad.returncode == 1
        assert "has a certificate that could not be verified: unable to get local issuer certificate." in bad.stdout
        refused = bot("run", tmp_path, running.environment)
        assert refused.returncode == 1
        assert "problem  data_sources.demo: Data source demo" in refused.stderr


def test_a_reload_that_changes_tls_takes_effect_or_is_refused_whole(server: Encrypting, tmp_path: Path) -> None:
    before = 'tls = "preferred"'
    with (
        SlackSandbox(commands=COMMANDS) as slack,
        Between(HOST, server.database.port) as between,
        RunningBot(slack, server.database, tmp_path, user="root", port=between.port, source=before) as running,
    ):
        text = running.config.read_text()

        def reload(after: str, event: str) -> list[bool]:
            """Change the setting and say of the logins since then whether they asked for TLS."""
            told, logins = running.log.read_text().count(event), len(between.encrypted)
            running.config.write_text(text.replace(before, after))
            running.signal(signal.SIGHUP)
            slack.wait_for(lambda: running.log.read_text().count(event) > told, PATIENCE, event)
            return between.encrypted[logins:]

        slack.wait_for(lambda: between.encrypted, PATIENCE, "the first login")
        assert set(between.encrypted) == {True}
        assert False in reload('tls = "off"', "configuration read again")
        verified = 'tls = "verified"\ntls_ca = "{}"'
        assert True in reload(verified.format(server.theirs.file), "new configuration refused")
        assert "has a certificate that could not be verified" in running.log.read_text()
        assert True not in reload('tls = "off"', "configuration read again"), "that is what is still in use"
        assert True in reload(verified.format(server.ours.file), "configuration read again")
        assert server.database.password not in running.log.read_text()


def test_what_says_how_it_is_encrypted_is_the_socket_and_not_the_setting(plain: EmbeddedMariaDB) -> None:
    with plain.connect() as connection:
        assert safety(connection) == "not encrypted"
