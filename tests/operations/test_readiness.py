"""Ready is what a rolling update and a balancer ask: whether this replica can work; and where it listens for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import ConfigurationError, StoreError
from bot.operations import preflight, web_server
from bot.operations.health import AWAY, FRESH, Health, SlackHealth
from bot.operations.reports import Verdict
from bot.operations.web_server import Pages, WebServer
from bot.settings import ListenAddress, Loaded, SlackSettings
from bot.wiring import data_source
from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox
from tests.support.http_bot import HttpBot, SocketBot, Web, free_port, request_url
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS
from tests.support.stage import staged

DEAF = ("-m", "tests.support.deaf_bot")


class Standing:
    """Health of a bot that is at work, with a clock, a socket and a store that a test plays with."""

    def __init__(self, *, socket_mode: bool = True, connected: bool = True) -> None:
        self.now = 0.0
        self.stored = True
        self.stopping = False
        self.slack = SlackHealth(lambda: self.now)
        self._connected = False
        if socket_mode:
            self.slack.connected = lambda: self._connected
            if connected:
                self.connected = True
        self.health = Health(self.slack, "1", lambda: self.now)
        self.health.watch(self._look, lambda: None, {}, lambda: self.stopping)
        self.slack.called("", reached=True)
        self.health.ready()

    def _look(self) -> None:
        if not self.stored:
            raise StoreError("The store does not answer.")

    @property
    def connected(self) -> bool:
        """Whether Slack delivers, of which health is told."""
        return self._connected

    @connected.setter
    def connected(self, connected: bool) -> None:
        self._connected = connected
        self.slack.connected_changed(connected)

    def after(self, seconds: float) -> tuple[bool, str]:
        """Let that time pass and return ready and status."""
        self.now += seconds
        ready, report = self.health.report()
        return ready, report["status"]


def test_a_bot_is_ready_from_the_first_connection_on_until_slack_has_been_away_for_a_minute() -> None:
    bot = Standing(connected=False)
    assert bot.after(1) == (False, "failing"), "it was never connected"
    bot.connected = True
    assert bot.after(FRESH) == (True, "ok")
    bot.connected = False
    assert bot.after(AWAY - 1) == (True, "degraded")
    assert bot.after(1) == (False, "failing")
    assert bot.health.report()[1]["slack"]["status"] == "failing"
    assert bot.health.live()["status"] == "ok", "a restart brings no Slack back"
    bot.connected = True
    assert bot.after(0) == (True, "ok")


def test_how_long_slack_has_been_away_does_not_depend_on_who_asks_and_how_often() -> None:
    bot = Standing()
    assert bot.after(0)[0]
    assert bot.after(10 * AWAY)[0]
    bot.connected = False
    assert bot.after(2) == (True, "degraded"), "nobody has asked for ten minutes, and it stood all the while"


def test_in_http_mode_no_connection_is_asked_for_and_slacks_api_away_takes_no_replica_away() -> None:
    bot = Standing(socket_mode=False)
    assert bot.after(0) == (True, "ok")
    bot.slack.called("unreachable", reached=False)
    assert bot.after(10 * AWAY) == (True, "degraded")


def test_a_token_that_slack_refuses_is_never_told_as_well_until_it_is_taken_again() -> None:
    for bot in (Standing(), Standing(socket_mode=False)):
        bot.slack.called("missing_scope", reached=True)
        assert bot.after(0) == (True, "ok"), "that is about one method"
        bot.slack.called("token_revoked", reached=True)
        bot.slack.called("ratelimited", reached=True)
        assert bot.after(0) == (True, "degraded"), "what is answered by response URL still works"
        assert bot.health.report()[1]["slack"]["problem"] == "the token is refused (token_revoked)"
        bot.slack.called("", reached=True)
        assert bot.after(0) == (True, "ok")


def test_a_store_that_has_never_answered_keeps_a_new_replica_from_being_ready_and_one_that_has_does_not() -> None:
    bot = Standing()
    bot.stored = False
    assert bot.after(0) == (False, "failing")
    bot.stored = True
    assert bot.after(FRESH) == (True, "ok")
    bot.stored = False
    assert bot.after(FRESH) == (True, "degraded"), "another replica has no other store, and lists need none"
    assert bot.health.report()[1]["store"]["status"] == "failing"


def test_a_bot_that_ends_is_alive_and_not_ready() -> None:
    bot = Standing()
    bot.stopping = True
    assert bot.after(0)[0] is False
    assert bot.health.live()["status"] == "ok"


@contextmanager
def serving(events: ListenAddress | None, health: ListenAddress | None) -> Iterator[None]:
    pages = Pages(
        lambda: (False, {"status": "failing"}), lambda: {"bot": "session-bot"}, lambda: ("text/plain", b"m 1\n")
    )
    server = WebServer(events, health, pages, lambda: None)
    server.start()
    try:
        yield
    finally:
        server.stop()


def public(port: int, host: str | None = None) -> ListenAddress:
    return ListenAddress(host, port, "PORT", "BIND_ADDRESS")


def own(port: int, host: str | None = None) -> ListenAddress:
    return ListenAddress(host, port, "HEALTH_PORT", "HEALTH_BIND_ADDRESS")


def status(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> int:
    """Return the status of an answer, 0 where nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except ConnectionRefusedError:
        return 0
    finally:
        connection.close()


PATHS = ("/readyz", "/healthz", "/livez", "/metrics")


def test_health_with_a_port_of_its_own_is_not_on_the_public_one_nor_are_slacks_requests_on_its() -> None:
    slack, health = free_port(), free_port()
    with serving(public(slack), own(health)):
        assert [status(slack, path) for path in PATHS] == [404] * 4
        assert status(slack, "/slack/events", "POST") == 503, "Slack is asked to try again until it is taken"
        assert [status(health, path) for path in PATHS] == [503, 503, 200, 200]
        assert status(health, "/slack/events", "POST") == 404
    assert status(slack, "/") == status(health, "/") == 0


def test_whoever_floods_the_public_port_keeps_no_probe_waiting() -> None:
    slack, health = free_port(), free_port()
    with serving(public(slack), own(health)), contextlib.ExitStack() as flood:
        for _ in range(520):  # more than it lets in
            client = flood.enter_context(socket.create_connection(("127.0.0.1", slack), timeout=PATIENCE))
            client.sendall(b"POST /slack/events HTTP/1.1\r\nContent-Length: 9\r\n")
        asked = time.monotonic()
        assert [status(health, path) for path in PATHS] == [503, 503, 200, 200]
        assert time.monotonic() - asked < web_server.WHOLE_WITHIN / 2, "long before the flood is cut off"


def test_on_one_port_all_of_it_is_there() -> None:
    port = free_port()
    with serving(public(port), public(port)):
        assert [status(port, path) for path in PATHS] == [503, 503, 200, 200]
        assert status(port, "/slack/events", "POST") == 503


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        (None, {"127.0.0.1", "::1"}),
        ("::", {"127.0.0.1", "::1"}),
        ("0.0.0.0", {"127.0.0.1"}),
        ("127.0.0.1", {"127.0.0.1"}),
        ("::1", {"::1"}),
    ],
)
def test_it_listens_where_it_is_told_to_and_on_all_addresses_of_both_kinds_by_itself(
    host: str | None, reached: set[str]
) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 address")
    port = free_port()
    with serving(None, own(port, host)):
        assert {one for one in ("127.0.0.1", "::1") if status(port, "/livez", host=one)} == reached


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_machine_without_ipv6_listens_on_its_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without(address: tuple[str, int], *, family: int, **more: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return create(address, family=family, **{**more, "dualstack_ipv6": False})

    monkeypatch.setattr(socket, "create_server", without)
    port = free_port()
    with serving(None, own(port)):
        assert status(port, "/livez") == 200
    with pytest.raises(ConfigurationError, match=r"^HEALTH_BIND_ADDRESS: ::1 is of IPv6, which this machine"):
        web_server.listen(own(port, "::1"))


@pytest.mark.parametrize("holder", ["0.0.0.0", "127.0.0.1", "::1"])
def test_a_port_in_use_is_told_with_its_variable_and_nothing_listens_then(holder: str) -> None:
    family = socket.AF_INET6 if ":" in holder else socket.AF_INET
    if ":" in holder and not has_ipv6():
        pytest.skip("this machine has no IPv6 address")
    free = free_port()
    with socket.create_server((holder, 0), family=family) as taken:
        port = taken.getsockname()[1]
        sentence = f"^HEALTH_PORT: port {port} is in use by another process; end that, or set another port$"
        with pytest.raises(ConfigurationError, match=sentence), serving(public(free), own(port)):
            pass
    assert status(free, "/") == 0


def test_an_address_that_is_not_of_this_machine_is_told_with_its_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^BIND_ADDRESS: 192\.0\.2\.1 is no address of this machine"):
        web_server.listen(public(free_port(), "192.0.2.1"))


def reports(events: ListenAddress | None, health: ListenAddress | None) -> list[tuple[Verdict, str]]:
    """Return what `check` says of where the bot would listen."""
    slack = SlackSettings.model_construct(
        app_token=SecretStr("xapp-1") if events is None else None,
        port=events.port if events else 3000,
        health_port=health.port if health else None,
    )
    return preflight.everything(Loaded(slack=slack, settings=None, data_sources={}, problems=[]), None, data_source)


def test_check_says_where_the_bot_would_listen_and_whether_it_can() -> None:
    slack, health = free_port(), free_port()
    assert reports(public(slack), own(health)) == [
        (Verdict.WORKS, f"PORT: Slack's requests on port {slack} of every address, which is free"),
        (Verdict.WORKS, f"HEALTH_PORT: health and metrics on port {health} of every address, which is free"),
    ]
    assert reports(public(slack), public(slack)) == [
        (Verdict.WORKS, f"PORT: Slack's requests, health and metrics on port {slack} of every address, which is free"),
    ]
    ((verdict, said),) = reports(None, None)
    assert verdict is Verdict.WORKS
    assert said.startswith("HEALTH_PORT: not set, so the bot listens nowhere")
    with socket.create_server(("0.0.0.0", health)) as silent:
        silent.settimeout(0)
        ((_, first), (verdict, said)) = reports(public(slack), own(health))
        assert first.endswith("which is free")
        assert (verdict, said.split(";")[0]) == (
            Verdict.FAILS,
            f"HEALTH_PORT: port {health} is in use by another process",
        )


def test_check_beside_a_bot_that_runs_does_not_call_its_ports_taken() -> None:
    slack, health = free_port(), free_port()
    with serving(public(slack), own(health)):
        assert [verdict for verdict, _ in reports(public(slack), own(health))] == [Verdict.UNTRIED] * 2
        assert "where a session-bot runs now" in reports(public(slack), own(health))[1][1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_slow_clients_count_by_whose_address_it_is(one: str, other: str, same: bool) -> None:
    assert (web_server._client(one) == web_server._client(other)) is same


def waits_for(slack: SlackSandbox, web: Web, ready: int) -> dict[str, Any]:
    """Wait until the bot is ready or is not, and return its report; it is alive all the while."""

    def found() -> dict[str, Any] | None:
        code, _, content = web.request("GET", "/readyz")
        assert web.request("GET", "/livez")[0] == 200
        return json.loads(content) if code == ready else None

    report = slack.wait_for(found, what=f"readyz {ready}")
    assert report is not None
    return report


def test_in_socket_mode_a_bot_whose_slack_stays_away_is_not_ready_until_it_is_back(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    web = Web(free_port())
    with (
        SlackSandbox(commands=COMMANDS) as slack,
        SocketBot(slack, restartable, tmp_path, web, command=DEAF) as bot,
    ):
        waits_for(slack, web, 200)
        slack.stop()
        report = waits_for(slack, web, 503)
        assert report["slack"] | {"connected": False, "status": "failing"} == report["slack"]
        slack.start()
        waits_for(slack, web, 200)
        assert bot.stop() == 0


def test_a_bot_with_two_ports_that_loses_one_ends_with_1_so_that_it_is_started_again(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    web, health = Web(free_port()), Web(free_port())
    url = request_url(web)
    with staged(restartable, tmp_path, bot=HttpBot, request_url=url, web=web, health=health, command=DEAF) as stage:
        stage.asks(stage.alice, "/sessions", "Sessions on demo")
        assert [web.request("GET", path)[0] for path in PATHS] == [404] * 4
        # A part that has not answered yet, as on a machine with much to do, is `degraded` at first.
        stage.slack.wait_for(lambda: health.health()[1]["status"] == "ok", what="all parts to be well")
        stage.bot.signal(signal.SIGUSR1)
        assert stage.bot.ended() == 1
        said = stage.bot.log.read_text(encoding="utf-8")
        assert "the web server has ended, so the bot ends too" in said
        assert '"stopped"' in said, "what was under way was finished first"
        stage.bot.start()


@pytest.mark.parametrize(
    ("method", "failures", "name"),
    [
        ("auth.test", [Failure("auth.test", 503), Failure("auth.test", error="token_revoked")], "SLACK_BOT_TOKEN"),
        ("apps.connections.open", [Failure("", error="not_allowed_token_type")], "SLACK_APP_TOKEN"),
    ],
)
def test_a_bot_whose_token_slack_refuses_ends_with_1_and_names_it(
    restartable: EmbeddedOceanBase, tmp_path: Path, method: str, failures: list[Failure], name: str
) -> None:
    with SlackSandbox(commands=COMMANDS) as slack:
        for one in failures:
            slack.faults.fail_next(method, one.status, one.error)
        bot = SocketBot(slack, restartable, tmp_path, Web(free_port()))
        with pytest.raises(AssertionError, match=rf"the bot ended with 1:\n(.|\n)*problem  {name}: Slack refuses it"):
            bot.start()
