"""docs/install.md, walked: its commands and files in their order, up to a session that is closed by a press."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.closing.store.tables import SCHEMA
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.world import DEMO_WORLD
from tests.sessions.test_grants import ABSENT
from tests.support.documents import blocks, section
from tests.support.http_bot import Web, free_port
from tests.support.machine import ACCOUNT, Machine, Program, Unit
from tests.support.stage import Stage
from tests.support.walk import PASSWORD, SECRETS, closes_a_session, configured, slack_for


@pytest.fixture
def machine() -> Iterator[Machine]:
    with contextlib.closing(Machine()) as made:
        yield made


@pytest.fixture
def account(oceanbase: EmbeddedOceanBase) -> Iterator[None]:
    """Make the account as section 2 says; what seekdb has not is left out there, too."""
    (statements,) = blocks(section("install.md", "OceanBase: a cluster"), "sql")
    with oceanbase.connect() as admin, admin.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS session_bot")
        for statement in re.findall(r"^((?:CREATE|GRANT)[^;]+);", statements, re.MULTILINE):
            if not any(name in statement for name in ABSENT):
                cursor.execute(statement.replace("'PASSWORD'", f"'{PASSWORD}'"))
        yield
        cursor.execute("DROP USER session_bot")


def configuration(database: EmbeddedServer) -> tuple[str, str]:
    """Return where the file of section 5 belongs, and what is in it, with the values of this machine."""
    text = section("install.md", "5. The configuration")
    (path,) = re.findall(r"^`(/etc/\S+\.toml)`, which holds no secret:$", text, re.MULTILINE)
    return path, configured(blocks(text, "toml")[0], database)


@contextlib.contextmanager
def service(machine: Machine, log: Path, stage: Stage, ports: dict[str, str]) -> Iterator[tuple[Unit, Program]]:
    """Run the service as its unit says; it is ready."""
    unit = Unit(machine, "session-bot.service", **ports)
    program = unit.start(log, SLACK_API_URL=stage.slack.api_url)
    try:
        program.waits_for("ready")
        yield unit, program
    finally:
        program.stop()


def install(machine: Machine, database: EmbeddedServer) -> None:
    """Do what sections 4 and 5 say."""
    machine.runs(blocks(section("install.md", "4. The bot"))[0])
    home = machine.path("/var/lib/session-bot")
    assert machine.recorded() == [
        f"useradd --system --user-group --no-create-home --home-dir {home} --shell /usr/sbin/nologin session-bot"
    ]
    folders, secrets = blocks(section("install.md", "5. The configuration"))
    machine.runs(folders)
    path, toml = configuration(database)
    machine.path(path).write_text(toml, encoding="utf-8")
    machine.runs(secrets, SECRETS)
    if machine.as_account:
        kept = machine.path("/etc/session-bot/secrets/SLACK_BOT_TOKEN").stat()
        assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o777) == (0, ACCOUNT, 0o640)


def change_the_password(machine: Machine, database: EmbeddedServer) -> None:
    """Change the password of the bot's account, and put the new one where the first one was put."""
    name, password = "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD", f"new-{PASSWORD}"
    with database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"ALTER USER session_bot IDENTIFIED BY '{password}'")
    lines = blocks(section("install.md", "5. The configuration"))[1].splitlines(keepends=True)
    machine.runs(next(line for line in lines if name in line), {name: password})


def change_to_http_mode(machine: Machine) -> None:
    """Put the one secret in the place of the other, and what the guide adds to the unit into its file."""
    secrets = blocks(section("install.md", "5. The configuration"))[1]
    (line,) = [line for line in secrets.splitlines() if "HTTP mode" in line]
    command, told = line.split("#")
    (before,) = re.findall(r"SLACK_\w+", command)
    (after,) = re.findall(r"SLACK_\w+", told)
    machine.path(f"/etc/session-bot/secrets/{before}").unlink()
    machine.runs(f"{command.replace(before, after)}\n", {after: DEMO_WORLD.signing_secret})
    added = machine.path("/etc/systemd/system/session-bot.service.d")
    added.mkdir()
    (drop_in,) = blocks(section("install.md", "As a service of systemd"), "ini")
    (added / "override.conf").write_text(drop_in, encoding="utf-8")


def test_from_the_guide_alone_a_service_closes_a_session_by_a_press_in_both_modes(
    machine: Machine, oceanbase: EmbeddedOceanBase, account: None, tmp_path: Path
) -> None:
    """Sections 4 to 7 and the service, by their commands.

    In the place of what ``pip`` would fetch by requirements.lock stand the packages that the tests run on; the rest of
    ``pip`` is done. What wants systemd is done by what the unit says.
    """
    port, health = Web(free_port()), Web(free_port())
    ports = {"PORT": str(port.port), "HEALTH_PORT": str(health.port)}
    install(machine, oceanbase)
    (check,) = blocks(section("install.md", "6. Check"))
    path, toml = configuration(oceanbase)
    with slack_for(oceanbase, tmp_path) as stage:
        check = f"export SLACK_API_URL={stage.slack.api_url}\n{check}"
        checked = machine.runs(check)
        assert not re.search(r"^(problem|warning)", checked, re.MULTILINE), checked
        assert "ok       store: it is empty; session-bot run makes " in checked
        assert list(machine.path("/var/lib/session-bot/").iterdir()) == []
        machine.runs(blocks(section("install.md", "As a service of systemd"))[0])
        assert machine.recorded() == [
            "systemctl daemon-reload",
            "systemctl enable --now session-bot",
            "journalctl -fu session-bot",
        ]
        assert machine.path(path).read_text(encoding="utf-8") == toml, "what was written stays"
        with service(machine, tmp_path / "socket.log", stage, ports) as (unit, program):
            closes_a_session(stage)
            assert health.health()[0] == 200
            change_the_password(machine, oceanbase)
            unit.reload(SLACK_API_URL=stage.slack.api_url)  # it logs in anew where something has changed
            program.waits_for("configuration read again")
            assert f"schema version {SCHEMA}" in machine.runs(check)
    change_to_http_mode(machine)
    http = slack_for(oceanbase, tmp_path, port)
    with http as stage, service(machine, tmp_path / "http.log", stage, ports) as (unit, program):
        closes_a_session(stage)
        unit.reload(SLACK_API_URL=stage.slack.api_url)
        program.waits_for("configuration read again")
        assert health.health()[0] == 200
        assert port.request("GET", "/metrics")[0] == 404


def test_every_command_of_the_bot_that_is_shown_runs_as_its_user_where_it_works_with_its_configuration() -> None:
    (check,) = blocks(section("install.md", "6. Check"))
    start = check.removesuffix("check\n")
    (proof,) = blocks(section("install.md", "A proof on your own servers"))
    assert blocks(section("install.md", "7. The first list"))[0] == f"{start}run\n"
    assert proof.replace("\\\n  --table", "--table") == (
        f"{start}check --exercise --table ops.session_bot_check > exercise.txt\n"
    )


def test_the_folders_that_the_service_of_0_1_0_has_left_become_those_of_the_guide(machine: Machine) -> None:
    """Its user existed only while it ran: its secrets were root's alone, its store in a folder that systemd hides."""
    old = machine.path("/opt/session-bot")
    old.mkdir()
    (old / "version").write_text("0.1.0", encoding="utf-8")
    machine.path("/opt/session-bot-0.2.0").mkdir()
    private = machine.path("/var/lib/private")
    (private / "session-bot").mkdir(parents=True, mode=0o700)
    private.chmod(0o700)
    (private / "session-bot" / "session-bot.db").touch(0o600)
    machine.path("/var/lib/session-bot").symlink_to("private/session-bot")
    secrets = machine.path("/etc/session-bot/secrets")
    secrets.mkdir(parents=True, mode=0o700)
    (secrets / "SLACK_BOT_TOKEN").touch(0o600)
    before, after = blocks(section("install.md", "Upgrading"))
    (link,) = [one for one in blocks(section("install.md", "4. The bot"))[0].splitlines() if one.startswith("ln ")]
    machine.runs(before + link + "\n" + blocks(section("install.md", "5. The configuration"))[0] + after)
    assert machine.recorded() == ["systemctl stop session-bot"]
    assert machine.path("/opt/session-bot").resolve() == machine.path("/opt/session-bot-0.2.0")
    store = "/var/lib/session-bot/session-bot.db"
    machine.runs(f"runuser -u session-bot -- cat {store} /etc/session-bot/secrets/SLACK_BOT_TOKEN")
    (back,) = re.findall(r"^ +(ln -sfn .*)$", section("install.md", "Upgrading"), re.MULTILINE)
    machine.runs(back.replace("0.2.0", "0.1.0"))
    assert (machine.path("/opt/session-bot") / "version").read_text(encoding="utf-8") == "0.1.0"
