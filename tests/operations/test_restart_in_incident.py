"""A bot that is restarted while most of its data sources and its store hang: it and those that are well are at work."""

from __future__ import annotations

from pathlib import Path

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.server import SlackSandbox
from tests.support.hanging import HangingRelay
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.slack_person import Person

HUNG = 20
FILE = """
[data_sources.{name}]
host = "127.0.0.1"
port = {port}
user = "root@sys"
password = "{password}"
"""


def test_neither_the_start_nor_a_data_source_that_is_well_waits_for_those_that_hang(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    host, port, password = oceanbase.host, oceanbase.port, oceanbase.password
    with (
        HangingRelay(host, port, hangs=True) as hung,
        HangingRelay(host, port) as well,
        SlackSandbox(commands=COMMANDS) as slack,
    ):
        ports = {**{f"hung{number}": hung.port for number in range(HUNG)}, "last": well.port}
        more = "".join(FILE.format(name=name, port=one, password=password) for name, one in ports.items())
        command = ("-m", "tests.support.patient_bot")
        store = f"mysql+pymysql://root:{password}@127.0.0.1:{hung.port}/records"
        with RunningBot(slack, oceanbase, tmp_path, more=more, command=command, store=store):
            slack.wait_for(lambda: well.accepted >= 2, what="the login at the start and the connection that is kept")
            alice = Person(slack, "U01ALICE")
            alice.types("/sessions source=last")
            alice.wait_for_message("Sessions on last")
            assert hung.given_up == 0, "the bot has not yet waited for any of them to the end"
            assert hung.accepted >= HUNG
            hung.resume()  # for nobody to wait for them at the end
