"""What every walk of docs/install.md does: the values of this machine, a Slack with people, a close by a press."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sandbox.databases.embedded import EmbeddedServer
from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import DEMO_WORLD
from tests.support.http_bot import Web, request_url
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.stage import Stage, accounts, session_id

PASSWORD = "secret-of-the-bots-account"
SECRETS = {
    "SLACK_BOT_TOKEN": DEMO_WORLD.bot_token,
    "SLACK_APP_TOKEN": DEMO_WORLD.app_token,
    "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD": PASSWORD,
}


def replaced(text: str, table: dict[str, str]) -> str:
    """Put values of this machine in the place of what only an example has; each must be there."""
    for placeholder, value in table.items():
        assert placeholder in text, placeholder
        text = text.replace(placeholder, value)
    return text


def configured(toml: str, database: EmbeddedServer, host: str = "10.0.0.1") -> str:
    """Return the guide's configuration for a server of this machine, whose ``host`` it calls so."""
    return replaced(toml, {f'"{host}"': f'"{database.host}"', "2881": str(database.port), "U0123456789": "U01ALICE"})


@contextlib.contextmanager
def slack_for(
    database: EmbeddedServer, folder: Path, web: Web | None = None, kind: type[Stage] = Stage
) -> Iterator[Stage]:
    """Give a Slack with people, in HTTP mode if there is a ``web``; the bot is whoever connects."""
    accounts(database)
    with SlackSandbox(commands=COMMANDS, request_url=request_url(web) if web else None) as slack:
        slack.limits.rates.clear()
        stage = kind(database, slack, RunningBot(slack, database, folder))
        yield stage
        stage.tidy()


def closes_a_session(stage: Stage) -> None:
    """List, ask, press, and look whether it is gone."""
    victim = session_id(stage.connect())
    stage.asks(stage.alice, "/sessions user=teller", str(victim))
    card = stage.card_of(victim)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert not stage.row(victim)
