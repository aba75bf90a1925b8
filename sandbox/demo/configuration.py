"""What the demo gives the unchanged bot: its configuration file and its environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from sandbox.demo.endpoint import Endpoint
from sandbox.slack.server import SlackSandbox

# A real workspace's tokens must not leak into the demo, and the SDK would send loopback through a proxy.
FOREIGN = ("SLACK_", "SESSION_BOT", "PORT", "BIND_ADDRESS", "HEALTH_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

FILE = """\
# Written by the demo at every start.
[data_sources.demo]
kind = "auto"
host = {host}
port = {port}
user = {user}
password = {password}
{more}
[[access]]
who = ["U01ALICE"]  # the on-call engineer
may = ["view", "close"]

[[access]]
who = ["U02BOB"]    # the DBA; Gus, the guest, has no rule
may = ["view", "close", "approve"]

[channels.C01INC]
data_source = "demo"

[store]
url = {store}
"""


SECOND = """
[data_sources.crm]
kind = "mysql"
host = {host}
port = {port}
user = {user}
password = {password}
approval = "second-person"  # somebody else than who asks must confirm: Bob
break_glass_after = "30s"   # or who asks, alone and this much later
"""


def write_configuration(file: Path, endpoint: Endpoint, store: Path, second: Endpoint | None = None) -> None:
    """Write the bot's configuration so that nobody else on the machine can read the passwords.

    ``second`` is a MariaDB, for a data source of another kind where a second person confirms.
    """
    more = ""
    if second is not None:
        more = SECOND.format(
            host=_quoted(second.host),
            port=second.port,
            user=_quoted(second.user),
            password=_quoted(second.password),
        )
    text = FILE.format(
        more=more,
        host=_quoted(endpoint.host),
        port=endpoint.port,
        user=_quoted(endpoint.user),
        password=_quoted(endpoint.password),
        store=_quoted(f"sqlite:///{store}"),
    )
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)


def bot_environment(own: Mapping[str, str], sandbox: SlackSandbox, file: Path) -> dict[str, str]:
    """Return the environment that points the bot at the sandbox and at its file, and at nothing else."""
    kept = {key: value for key, value in own.items() if not key.upper().startswith(FOREIGN)}
    return kept | {
        "SLACK_BOT_TOKEN": sandbox.world.bot_token,
        "SLACK_APP_TOKEN": sandbox.world.app_token,
        "SLACK_API_URL": sandbox.api_url,
        "SESSION_BOT_CONFIG": str(file),
        "PYTHONUNBUFFERED": "1",
    }


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
