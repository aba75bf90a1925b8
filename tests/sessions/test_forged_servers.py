"""What a server that only claims to be the database gets of a login, for each setting of TLS and each way to ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import DataSourceUnreachableError, LoginRefusedError, StoreError, UnsafeConnectionError
from bot.sessions.database import connected, try_login
from bot.sessions.endpoint import Endpoint
from bot.sessions.tls import Tls, TlsMode
from tests.support.certificates import Authority, server_context
from tests.support.forged import Forged
from tests.support.stores import store_at

PASSWORD = "geheim-€-hunter2"
ASKING = ["mysql_clear_password", "dialog", "sha256_password"]

LogIn = Callable[[Forged, Tls], None]


def as_data_source(server: Forged, tls: Tls) -> None:
    try_login(Endpoint("prod", server.host, server.port, "session_bot@sys", SecretStr(PASSWORD), tls))


def past_a_proxy(server: Forged, tls: Tls) -> None:
    proxy = Endpoint("prod", "10.0.0.9", 2883, "session_bot@sys#prod", SecretStr(PASSWORD), tls)
    direct = proxy.at(f"{server.host}:{server.port}", "session_bot@sys")
    assert direct is not None
    with connected(direct, ()):
        pass


def as_store(server: Forged, tls: Tls) -> None:
    url = f"mysql+pymysql://session_bot:geheim-%E2%82%AC-hunter2@{server.host}:{server.port}/session_bot"
    with store_at(url, tls) as store:
        try:
            store.database.check()
        except StoreError as error:
            if "answers with error 1064" not in str(error):  # once it has let the store in: it knows no SQL
                raise


@pytest.fixture(params=[as_data_source, past_a_proxy, as_store], ids=lambda one: one.__name__)
def log_in(request: pytest.FixtureRequest) -> LogIn:
    found: LogIn = request.param
    return found


@pytest.fixture
def own_certificate(tmp_path: Path) -> Any:
    """What a forger can have: a certificate for any name at all, signed by himself."""
    return server_context(Authority(tmp_path, "forger").signs("forged", "127.0.0.1"))


@pytest.mark.parametrize("asks", ASKING)
@pytest.mark.parametrize("mode", ["off", "preferred"])
def test_a_server_without_tls_that_asks_for_the_password_itself_does_not_get_it(
    log_in: LogIn, asks: str, mode: TlsMode
) -> None:
    with Forged(asks=asks) as server, pytest.raises((LoginRefusedError, StoreError)) as told:
        log_in(server, Tls(mode))
    assert not server.knows(PASSWORD)
    assert server.logged_in == 0
    assert f'asks for the password in a form ({asks}) that the bot sends only with tls = "verified"' in str(told.value)
    assert PASSWORD not in str(told.value)


@pytest.mark.parametrize("asks", ASKING)
@pytest.mark.parametrize("mode", ["off", "preferred", "required"])
def test_encryption_by_whoever_answers_is_no_reason_to_hand_it_the_password(
    log_in: LogIn, asks: str, mode: TlsMode, own_certificate: Any
) -> None:
    with Forged(asks=asks, tls=own_certificate) as server, pytest.raises((UnsafeConnectionError, StoreError)):
        log_in(server, Tls(mode))
    assert server.told
    assert not server.knows(PASSWORD)


@pytest.mark.parametrize("greets", ASKING)
@pytest.mark.parametrize("offers_tls", [True, False])
def test_a_greeting_that_names_such_a_plugin_is_not_answered_with_the_password(
    log_in: LogIn, greets: str, own_certificate: Any, offers_tls: bool
) -> None:
    with Forged(greets, tls=own_certificate if offers_tls else None) as server:
        log_in(server, Tls())
    assert server.logged_in == 1
    assert not server.knows(PASSWORD)


def test_a_server_whose_usual_plugin_is_such_a_one_may_ask_for_the_accounts_own(log_in: LogIn) -> None:
    with Forged("sha256_password", asks="mysql_native_password") as server:
        log_in(server, Tls())
    assert server.logged_in == 1


@pytest.mark.parametrize("asks", [*ASKING, "mysql_native_password"])
def test_a_forger_with_a_certificate_of_his_own_is_sent_nothing_where_it_is_verified(
    log_in: LogIn, asks: str, own_certificate: Any, tmp_path: Path
) -> None:
    trusted = Authority(tmp_path, "ours")
    with Forged(asks=asks, tls=own_certificate) as server, pytest.raises((UnsafeConnectionError, StoreError)) as told:
        log_in(server, Tls("verified", str(trusted.file)))
    assert b"session_bot" not in server.told
    assert not server.knows(PASSWORD)
    assert "has a certificate that could not be verified: " in str(told.value)
    assert "Nothing of the login was sent" in str(told.value)


@pytest.mark.parametrize("mode", ["required", "verified"])
def test_a_server_that_offers_no_tls_is_sent_nothing_at_all_where_it_is_wanted(log_in: LogIn, mode: TlsMode) -> None:
    with Forged() as server, pytest.raises((UnsafeConnectionError, StoreError)) as told:
        log_in(server, Tls(mode))
    assert server.told == b""
    assert f'offers no TLS, and tls = "{mode}" is set' in str(told.value)


@pytest.mark.parametrize("asks", ASKING)
def test_a_server_that_is_verified_may_ask_for_it(log_in: LogIn, asks: str, tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    with Forged(asks=asks, tls=server_context(ours.signs("server", "127.0.0.1"))) as server:
        log_in(server, Tls("verified", str(ours.file)))
    assert server.logged_in == 1
    assert server.knows(PASSWORD)


@pytest.mark.parametrize("greets", ["mysql_native_password", "caching_sha2_password"])
@pytest.mark.parametrize("mode", ["off", "preferred", "required", "verified"])
def test_caching_sha2_goes_on_by_its_long_form_as_a_mysql_wants_it_after_a_start(
    log_in: LogIn, greets: str, mode: TlsMode, tmp_path: Path
) -> None:
    ours = Authority(tmp_path)
    tls = server_context(ours.signs("server", "127.0.0.1"))
    with Forged(greets, asks="caching_sha2_password", tls=tls) as server:
        log_in(server, Tls(mode, str(ours.file) if mode == "verified" else None))
    assert server.logged_in == 1
    assert server.knows(PASSWORD), "the threat model says so"


@pytest.mark.parametrize("mode", ["off", "preferred"])
def test_the_scramble_of_the_usual_plugins_tells_nobody_the_password(log_in: LogIn, mode: TlsMode) -> None:
    for greets in ("mysql_native_password", ""):
        with Forged(greets) as server:
            log_in(server, Tls(mode))
        assert server.logged_in == 1
        assert not server.knows(PASSWORD)


@pytest.mark.parametrize(
    "server",
    [
        Forged(version="forged"),
        Forged(asks="mysql_old_password"),
        Forged("caching_sha2_password\xff"),
    ],
    ids=["version", "old", "no-text"],
)
def test_what_the_driver_stumbles_over_is_an_error_with_a_sentence_and_no_crash(server: Forged) -> None:
    with server, pytest.raises(DataSourceUnreachableError, match="answered, but logging in failed"):
        as_data_source(server, Tls())
    assert not server.knows(PASSWORD)


def test_a_file_of_cas_that_has_gone_since_the_start_is_told_before_anything_is_sent(log_in: LogIn) -> None:
    with Forged() as server, pytest.raises((UnsafeConnectionError, StoreError), match="the file that tls_ca names"):
        log_in(server, Tls("verified", "/nowhere/ca.pem"))
    assert server.told == b""
