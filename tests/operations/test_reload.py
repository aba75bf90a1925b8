"""SIGHUP: rules and data sources are read again; what is wrong is refused whole, and the bot goes on as before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import ConfigurationError
from bot.operations import reload as reloading
from bot.settings import SlackSettings
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.http_bot import SocketBot, Web, free_port, value
from tests.support.patience import PATIENCE
from tests.support.slack_person import buttons_of, text_of
from tests.support.stage import APP_PASSWORD, Stage, session_id, staged

ALICE_ALONE = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]
"""
BOB_TOO = """
[[access]]
who = ["U02BOB"]
may = ["view"]
"""
SECOND = """
[data_sources.second]
host = "127.0.0.1"
port = {port}
user = "auditor"
password = "{password}"
"""

# A bot that can put no second configuration to use.
FAILS_LATER = """
import sys
from bot.__main__ import main
from bot.wiring import _Running

use = _Running.use

def fails(self, settings):
    if self._settings is not None:
        1 / 0
    use(self, settings)

_Running.use = fails
sys.exit(main(["run"]))
"""


@pytest.fixture
def web() -> Web:
    return Web(free_port())


@pytest.fixture
def stage(oceanbase: EmbeddedOceanBase, tmp_path: Path, web: Web) -> Iterator[Stage]:
    """Give a stage where Alice alone may do something."""
    first = 'default_source = "demo"'
    with staged(oceanbase, tmp_path, bot=SocketBot, web=web, access=ALICE_ALONE, first=first) as stage:
        yield stage


def lines(stage: Stage, event: str) -> list[dict[str, Any]]:
    """Return the lines of the bot's log about that."""
    found = []
    for line in stage.bot.log.read_text().splitlines():
        told = json.loads(line)
        if told["event"] == event:
            found.append(told)
    return found


def reload(stage: Stage, text: str, event: str = "configuration read again") -> dict[str, Any]:
    """Write the configuration, tell the bot, and return what it says of it."""
    before = len(lines(stage, event))
    stage.bot.config.write_text(text, encoding="utf-8")
    stage.bot.signal(signal.SIGHUP)
    return stage.slack.wait_for(lambda: lines(stage, event)[before:], what=event)[0]


def second(stage: Stage, password: str = APP_PASSWORD, more: str = "") -> str:
    return SECOND.format(port=stage.database.port, password=password) + more


def sessions_of_the_bot(stage: Stage, user: str) -> list[int]:
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {stage.processes} WHERE user = %s", (user,))
        return [row[0] for row in cursor.fetchall()]


def test_a_new_rule_holds_at_once_and_a_card_of_before_can_still_be_pressed(stage: Stage) -> None:
    sleeper = stage.connect()
    card = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    stage.asks(stage.bob, "/sessions", "no access rule allows it")
    told = reload(stage, stage.bot.config.read_text() + BOB_TOO)
    assert (told["rules"], told["sources"]) == (2, ["demo"])
    stage.asks(stage.bob, "/sessions", "Sessions on demo")
    stage.asks(stage.bob, f"/kill-session {session_id(sleeper)}", "You may not close sessions")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")


def test_a_right_that_was_taken_away_is_gone_also_for_cards_of_before(stage: Stage) -> None:
    sleeper = stage.connect()
    card = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    reload(stage, stage.bot.config.read_text().replace('["view", "close"]', '["view"]'))
    stage.presses(stage.alice, card, "Close Session", "You may not close sessions")
    assert stage.row(session_id(sleeper))
    assert "Close Session" in buttons_of(stage.alice.now(card) or {})


def test_a_wrong_configuration_is_refused_whole_with_every_problem_and_the_old_one_goes_on(stage: Stage) -> None:
    good = stage.bot.config.read_text()
    wrong = good.replace("U01ALICE", "alice").replace('url = "sqlite', 'url = "sqlite:///elsewhere.db" # "')
    told = reload(stage, f'colour = "red"\n{wrong}{BOB_TOO}', "new configuration refused, the one before stays")
    problems = "\n".join(told["problems"])
    assert "colour: there is no such setting" in problems
    assert "access.0.who.0: a Slack id looks like" in problems
    stage.asks(stage.bob, "/sessions", "no access rule allows it")
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    reload(stage, good + BOB_TOO)
    stage.asks(stage.bob, "/sessions", "Sessions on demo")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((BOB_TOO, BOB_TOO + SECOND.format(port="PORT", password="wrong-password")), "refused the login of auditor"),
        (("sqlite:///", "sqlite:///other-"), "store.url: is read at the start only"),
        (
            ("[store]", '[store]\ntls = "required"\nkeep = "90d"'),
            "store.tls: is read at the start only; restart the bot to change it\nstore.keep: is read at the start only",
        ),
        (("sqlite:///", "mysql+pymysql://bot:wrong-password # "), "store.url: The URL of [store] url has no @"),
        ((BOB_TOO, BOB_TOO + SECOND.format(port="PORT", password=APP_PASSWORD) + 'tls = "required"'), "offers no TLS"),
        (("[store]", "[[stor"), "is no valid TOML"),
    ],
    ids=["login", "store", "store-tls", "store-url", "tls", "syntax"],
)
def test_what_cannot_be_used_is_refused(stage: Stage, change: tuple[str, str], problem: str) -> None:
    text = (stage.bot.config.read_text() + BOB_TOO).replace(*change).replace("PORT", str(stage.database.port))
    told = reload(stage, text, "new configuration refused, the one before stays")
    assert problem in "\n".join(told["problems"])
    assert "wrong-password" not in stage.bot.log.read_text()
    stage.asks(stage.bob, "/sessions", "no access rule allows it")
    stage.asks(stage.alice, "/sessions", "Sessions on demo")


def asked_to_reload(stage: Stage) -> tuple[int, str]:
    """Run what the unit's ExecReload runs, with the bot's own environment; return its exit status and what it says."""
    command = [sys.executable, "-m", "bot", "reload"]
    done = subprocess.run(
        command,
        cwd=stage.bot.log.parent,
        env=stage.bot.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_whoever_asks_for_a_reload_is_told_what_came_of_it(stage: Stage, web: Web) -> None:
    def gauges() -> tuple[float, float]:
        of = "session_bot_config_last_reload_"
        return web.metric(f"{of}successful"), web.metric(f"{of}success_timestamp_seconds")

    good = stage.bot.config.read_text()
    successful, started_at = gauges()
    assert (successful, time.time() - started_at < PATIENCE) == (1, True)
    stage.bot.config.write_text(good + BOB_TOO, encoding="utf-8")
    assert asked_to_reload(stage) == (0, "")
    stage.asks(stage.bob, "/sessions", "Sessions on demo")
    successful, reloaded_at = gauges()
    assert (successful, reloaded_at > started_at) == (1, True)
    stage.bot.config.write_text(f'colour = "red"\n{good}', encoding="utf-8")
    status, said = asked_to_reload(stage)
    assert status == 1
    assert "The bot has refused the new configuration and goes on with the one before." in said
    assert gauges() == (0, reloaded_at)
    assert web.health()[0] == 200
    assert web.health()[1]["configuration"]["problem"] == "the last was refused"
    (line,) = lines(stage, "new configuration refused, the one before stays")
    assert line["level"] == "error"
    stage.asks(stage.bob, "/sessions", "Sessions on demo")
    # The configuration is good, and putting it to use fails.
    stage.bot.stop()
    stage.bot.config.write_text(good, encoding="utf-8")
    stage.bot.command = ("-c", FAILS_LATER)
    stage.bot.start()
    stage.slack.wait_for(lambda: gauges()[0] == 1)
    status, said = asked_to_reload(stage)
    assert status == 1
    assert gauges()[0] == 0
    (line,) = lines(stage, "new configuration not taken, restart the bot")
    assert "ZeroDivisionError" in line["exception"]
    stage.bot.stop()
    status, said = asked_to_reload(stage)
    assert status == 1
    assert "No session-bot of this version answers on port" in said


def test_a_reload_signals_nobody_but_the_process_that_answers() -> None:
    somebody = subprocess.Popen(["sleep", "60"])  # of the number that a bot in a container has there, or a liar says

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = {"bot": "session-bot", "pid": somebody.pid, "configuration": {"reloads_begun": 0}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        slack = SlackSettings.model_construct(
            bind_address="127.0.0.1", health_port=server.server_port, app_token=SecretStr("xapp-")
        )
        try:
            with pytest.raises(ConfigurationError, match="The bot that answers runs in another container"):
                reloading.reload(slack)
            assert somebody.poll() is None
        finally:
            somebody.kill()
            somebody.wait()
            server.shutdown()


def test_data_sources_come_change_and_go_and_connections_go_with_them(stage: Stage, web: Web) -> None:
    one = stage.bot.config.read_text()
    others = set(sessions_of_the_bot(stage, "auditor"))  # another bot may stand beside this one
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    kept = set(sessions_of_the_bot(stage, "root"))
    reload(stage, one + second(stage))
    stage.asks(stage.alice, "/sessions source=second", "Sessions on second")
    assert set(web.health()[1]["data_sources"]) == {"demo", "second"}
    old = set(sessions_of_the_bot(stage, "auditor")) - others
    assert old
    reload(stage, one + second(stage, more='protected_users = ["teller"]\n'))
    stage.asks(stage.alice, "/sessions source=second", "Sessions on second")
    stage.wait_until(lambda: not old & set(sessions_of_the_bot(stage, "auditor")), "the old connections to be closed")
    last = set(sessions_of_the_bot(stage, "auditor")) - others
    assert last
    reload(stage, one)
    stage.asks(stage.alice, "/sessions source=second", "There is no data source second")
    stage.wait_until(lambda: not last & set(sessions_of_the_bot(stage, "auditor")), "the last connections to be closed")
    assert set(web.health()[1]["data_sources"]) == {"demo"}
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    assert kept & set(sessions_of_the_bot(stage, "root")), "what did not change keeps its warm connection"


def test_a_close_under_way_ends_as_it_began_though_its_data_source_is_taken_away(stage: Stage) -> None:
    one = stage.bot.config.read_text()
    reload(stage, one + second(stage).replace("auditor", "root@sys").replace(APP_PASSWORD, stage.database.password))
    waiter = stage.waits_for_lock()
    card = stage.asks(stage.alice, f"/kill-session {waiter.id} source=second", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    folder = stage.bot.log.parent
    stage.slack.wait_for(lambda: value(folder, "SELECT max(intent_at) FROM closing_targets"), what="the intent")
    reload(stage, one)
    result = stage.alice.wait_for_change(card, "✅ closed")
    assert "second" in text_of(result)
    assert waiter.ended() != 0


def test_many_hangups_at_once_end_with_the_last_configuration(stage: Stage) -> None:
    stage.bot.config.write_text(stage.bot.config.read_text() + BOB_TOO, encoding="utf-8")
    for _ in range(20):
        stage.bot.signal(signal.SIGHUP)
    stage.slack.wait_for(lambda: lines(stage, "configuration read again"))
    stage.asks(stage.bob, "/sessions", "Sessions on demo")
    assert stage.bot.stop() == 0


def test_a_close_that_was_not_finished_is_followed_after_a_reload_and_after_a_restart(
    stage: Stage, tmp_path: Path
) -> None:
    """The looks after the close cannot be had; the session ends when the bot has read its configuration again."""
    for again in ("reload", "restart"):
        client = stage.connect()
        number = session_id(client)
        card = stage.asks(stage.alice, f"/kill-session {number}", "Nothing is closed without a press")
        stage.alice.press(card, "Cancel")
        stage.alice.wait_for_change(card, "cancelled")
        request = stage.stored("SELECT id FROM closing_requests ORDER BY created_at DESC")[0][0]
        # Stands for one that was still running when its outcome had to be told: such a rollback takes minutes.
        stage.change_store(
            "UPDATE closing_requests SET state = 'done', decided_mode = 'Close Session', decided_at = :now "
            "WHERE id = :id",
            now=time.time(),
            id=request,
        )
        stage.change_store(
            "UPDATE closing_targets SET intent_at = :now, outcome = 'still running', outcome_at = :now, answer = 'OK' "
            "WHERE request_id = :id",
            now=time.time(),
            id=request,
        )
        if again == "reload":
            reload(stage, stage.bot.config.read_text())
        else:
            stage.bot.stop()
            stage.bot.start()
        client.close()
        stage.alice.wait_for_change(card, "It took longer; at first it was still running.")
