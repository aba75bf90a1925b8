"""The wheel, and the bot as the Dockerfile installs it: nothing of this checkout is needed to run it.

The guide's sections on Docker and Kubernetes are walked with it, up to a session that is closed by a press.
"""

from __future__ import annotations

import contextlib
import re
import signal
import site
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import __version__
from bot.operations.web_server import EVENTS
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.processes import stop_leftover
from sandbox.slack.world import DEMO_WORLD
from tests.conftest import installed_server
from tests.support.container import Container
from tests.support.documents import blocks, section
from tests.support.http_bot import Web, free_port
from tests.support.image import PACKAGES, Built, build, build_wheel, clean, in_context
from tests.support.lock import pinned
from tests.support.machine import Machine
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT
from tests.support.stage import MariaDBStage, session_id
from tests.support.walk import PASSWORD, SECRETS, closes_a_session, configured, replaced, slack_for


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Install the bot as the image has it."""
    return build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def wheel(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel of the whole checkout, which has the demo in it."""
    return build_wheel(built, tmp_path_factory.mktemp("wheel"))


def files_of(*folders: str) -> set[str]:
    """Every file below these folders."""
    return {
        str(file.relative_to(ROOT))
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def files_in(wheel: Path) -> set[str]:
    """Every file of a wheel but what describes it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_file_of_the_bot_and_of_the_demo_and_nothing_else(wheel: Path) -> None:
    assert files_in(wheel) == files_of(*PACKAGES)
    assert "sandbox/slack/static/index.html" in files_in(wheel)


def test_the_images_package_holds_every_file_of_the_bot_and_no_sandbox(built: Built) -> None:
    assert files_in(built.wheel) == files_of("bot", "commands")
    assert not in_context("sandbox")
    (library,) = (built.venv / "lib").glob("python3*/site-packages")
    assert not (library / "sandbox").exists()


def test_the_image_holds_exactly_what_is_pinned_and_no_pip(built: Built, tmp_path: Path) -> None:
    names = "import importlib.metadata as m; print(*sorted(d.name + '==' + d.version for d in m.distributions()))"
    listed = built.run("python", "-c", names, folder=tmp_path).stdout.split()
    found = {name.lower().replace("_", "-"): version for name, version in (one.split("==") for one in listed)}
    assert found == {**pinned("requirements.lock"), "session-bot": __version__}


def test_the_installed_bot_says_its_version(built: Built, tmp_path: Path) -> None:
    assert built.run("session-bot", "--version", folder=tmp_path).stdout == f"session-bot {__version__}\n"


def test_without_any_configuration_it_says_what_to_set_and_does_not_start(built: Built, tmp_path: Path) -> None:
    for verb in ("check", "run"):
        result = built.run("session-bot", verb, folder=tmp_path)
        told = result.stdout + result.stderr
        assert result.returncode == 1
        assert "SLACK_BOT_TOKEN: set it to the app's Bot User OAuth Token, which starts with xoxb-" in told
        assert "so no file was read; set it to the path of the configuration" in told
        assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_in_the_image_the_demo_says_in_a_sentence_that_it_is_left_out(built: Built, tmp_path: Path) -> None:
    result = built.run("session-bot", "demo", folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "The demo is left out of this image: it runs on a machine of your own, after "
        'pip install "session-bot[demo]" there.\n'
    )


def test_without_the_demos_extra_the_demo_says_what_to_install(built: Built, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "wheel")
    # What the bot runs on is the image's, which has nothing that the demo wants.
    result = built.run("python", "-m", "bot", "demo", folder=tmp_path / "wheel")
    assert result.returncode == 1
    assert 'The demo needs starlette, uvicorn. Install it with: pip install "session-bot[demo]"' in (result.stderr)


def test_the_demo_runs_from_the_wheel_in_an_environment_without_this_checkout(wheel: Path, tmp_path: Path) -> None:
    installed_server()
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=PATIENCE)
    here = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv), "install", "-q"]
    subprocess.run([*here, "--no-deps", "--no-index", str(wheel)], check=True, timeout=PATIENCE)
    (library,) = (venv / "lib").glob("python3*/site-packages")
    # The demo's dependencies are those of the tests' own environment; its editable install is not followed there.
    (library / "borrowed.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    port = free_port()
    said = tmp_path / "said"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            [venv / "bin" / "session-bot", "demo"],
            cwd=tmp_path,
            env={**clean(), "DEMO_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while "Ready:" not in said.read_text() and demo.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert f"Ready: http://127.0.0.1:{port}" in said.read_text(), said.read_text()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(PATIENCE) == 0
        assert "Stopped everything." in said.read_text()
    finally:
        demo.kill()
        demo.wait()
        stop_leftover(tmp_path / ".demo" / "database" / "run" / "seekdb.pid", expected=str(tmp_path))


STORE_PASSWORD = "secret-of-the-store"


@pytest.fixture
def account(mariadb: EmbeddedMariaDB) -> Iterator[None]:
    """Make the bot's account on MariaDB as section 2 says."""
    with made(mariadb, blocks(section("install.md", "MariaDB"), "sql")[0], PASSWORD, "session_bot"):
        yield


@contextlib.contextmanager
def made(mariadb: EmbeddedMariaDB, statements: str, password: str, user: str) -> Iterator[None]:
    """Run statements that make a user, and drop what they have made."""
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {user}")  # one that another test has left
        for statement in re.findall(r"^((?:CREATE|GRANT|REVOKE)[^;]+);", statements, re.MULTILINE):
            cursor.execute(statement.replace("'PASSWORD'", f"'{password}'"))
        yield
        cursor.execute(f"DROP USER {user}")
        cursor.execute("DROP DATABASE IF EXISTS session_bot")


@dataclass
class Composed:
    """What the guide's commands for Docker have left behind, and what compose.yaml makes of it."""

    machine: Machine
    compose: dict[str, Any]
    given: Path  # what stands for /run/secrets

    @property
    def service(self) -> dict[str, Any]:
        """What compose.yaml says of the bot."""
        found: dict[str, Any] = self.compose["services"]["bot"]
        return found

    @property
    def config(self) -> Path:
        """The configuration that is mounted."""
        return self.machine.checkout / "config" / "session-bot.toml"

    def container(self, built: Built) -> Container:
        """A replica, with a port of its own for health and metrics."""
        outside, inside, _ = self.service["volumes"][0].split(":")
        mounts = {inside: self.machine.checkout / outside, "/run/secrets": self.given}
        return Container(built, self.service["environment"], mounts, {"HEALTH_PORT": str(free_port())})

    def store(self, mariadb: EmbeddedMariaDB) -> contextlib.AbstractContextManager[None]:
        """Do what MariaDB's image does at its first start, and then with the file that is mounted for it."""
        environment = self.compose["services"]["store"]["environment"]
        database, user = environment["MARIADB_DATABASE"], environment["MARIADB_USER"]
        image = f"CREATE DATABASE {database};\nCREATE USER {user}@'%' IDENTIFIED BY 'PASSWORD';\n"
        rights = (ROOT / "deploy" / "store-rights.sql").read_text(encoding="utf-8")
        return made(mariadb, image + rights, STORE_PASSWORD, user)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with contextlib.closing(Machine()) as made:
        yield made


@pytest.fixture
def composed(machine: Machine, mariadb: EmbeddedMariaDB, tmp_path: Path) -> Composed:
    """Do what the guide says for Docker; its own commands are looked at alone."""
    text = section("install.md", "With Docker")
    folders, then = blocks(text)
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    url = re.findall(r"`(mysql\+pymysql://[^`]+)`", text)[0]
    url = replaced(url, {"PASSWORD": STORE_PASSWORD, "@store/": f"@{mariadb.host}:{mariadb.port}/"})
    secrets = {**SECRETS, "store_password": STORE_PASSWORD, "SESSION_BOT__STORE__URL": url}
    assert secrets.keys() == compose["secrets"].keys()
    walked = Composed(machine, compose, tmp_path / "run")
    walked.machine.runs(folders)
    toml = configured(walked.config.read_text(encoding="utf-8"), mariadb)
    walked.config.write_text(toml.replace('"session_bot@sys"', '"session_bot"'), encoding="utf-8")
    walked.given.mkdir()
    for name, value in secrets.items():
        file = walked.machine.checkout / compose["secrets"][name]["file"]
        file.write_text(value, encoding="utf-8")
        if name in walked.service["secrets"]:
            (walked.given / name).symlink_to(file)
    walked.machine.runs(then)
    return walked


def test_from_the_guide_alone_two_replicas_of_compose_close_a_session_by_a_press(
    built: Built, mariadb: EmbeddedMariaDB, account: None, composed: Composed, tmp_path: Path
) -> None:
    """In the place of Docker, what compose.yaml says is done by hand, with what the Dockerfile's steps have made."""
    assert composed.machine.recorded() == [
        "docker compose build",
        "docker compose run --rm bot check",
        "docker compose up -d",
    ]
    reload = re.findall(r"`docker compose exec --index 1 bot ([^`]+)`", section("install.md", "With Docker"))[0].split()
    replicas = []
    with (
        composed.store(mariadb),
        slack_for(mariadb, tmp_path, kind=MariaDBStage) as stage,
        contextlib.ExitStack() as running,
    ):
        for number in range(composed.service["deploy"]["replicas"]):
            folder = tmp_path / f"replica-{number}"
            folder.mkdir()
            container = composed.container(built)
            bot = container.start(folder, tmp_path / f"{number}.log", SLACK_API_URL=stage.slack.api_url)
            running.callback(bot.stop)
            bot.waits_for("ready")
            replicas.append((container, bot, folder))
        closes_a_session(stage)
        # As editors save: another file of that name. The folder is mounted, so that it is another one there, too.
        edited = composed.config.with_name("edited")
        toml = composed.config.read_text(encoding="utf-8")
        edited.write_text(f"{toml}\n[closing]\nrequire_reason = true\n", encoding="utf-8")
        edited.replace(composed.config)
        for container, bot, folder in replicas:
            assert container.healthy()
            assert container.exec(reload, SLACK_API_URL=stage.slack.api_url) == 0
            bot.waits_for("configuration read again")
            assert list(folder.iterdir()) == [], "its own folder is read-only"
        stage.asks(stage.alice, f"/kill-session {session_id(stage.connect())}", "reason=")


def in_kubernetes() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what deploy/kubernetes.yaml has by its kind, and what the guide adds for HTTP mode."""
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    (added,) = blocks(section("install.md", "In Kubernetes"), "yaml")
    return {one["kind"]: one for one in yaml.safe_load_all(text)}, list(yaml.safe_load_all(added))


def mounted(parts: dict[str, Any], mariadb: EmbeddedMariaDB, folder: Path) -> dict[str, Path]:
    """Fill in what stands in angle brackets, as HTTP mode wants it, and return what is mounted where."""
    toml = configured(parts["ConfigMap"]["data"]["session-bot.toml"], mariadb, "<address of an observer>")
    given = dict(parts["Secret"]["stringData"])
    given["SLACK_SIGNING_SECRET"] = given.pop("SLACK_APP_TOKEN")
    url = {"<password>": STORE_PASSWORD, "<address>:3306": f"{mariadb.host}:{mariadb.port}"}
    values = {
        "SLACK_BOT_TOKEN": DEMO_WORLD.bot_token,
        "SLACK_SIGNING_SECRET": DEMO_WORLD.signing_secret,
        "SESSION_BOT__STORE__URL": replaced(given["SESSION_BOT__STORE__URL"], url),
        "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD": PASSWORD,
    }
    assert values.keys() == given.keys()
    folders = {name: folder / name for name in ("config", "secrets", "tmp")}
    for one in folders.values():
        one.mkdir()
    config = toml.replace('"session_bot@sys"', '"session_bot"')
    (folders["config"] / "session-bot.toml").write_text(config, encoding="utf-8")
    for name, value in values.items():
        (folders["secrets"] / name).write_text(value, encoding="utf-8")
        (folders["secrets"] / name).chmod(0o440)
    (container,) = parts["Deployment"]["spec"]["template"]["spec"]["containers"]
    return {one["mountPath"]: folders[one["name"]] for one in container["volumeMounts"]}


def test_from_the_guide_alone_a_pod_in_http_mode_closes_a_session_by_a_press(
    built: Built, mariadb: EmbeddedMariaDB, account: None, tmp_path: Path
) -> None:
    """In the place of Kubernetes, what it would mount and set is done by hand, with the account of two replicas."""
    parts, _ = in_kubernetes()
    (container,) = parts["Deployment"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    web, health, own = Web(free_port()), Web(free_port()), tmp_path / "own"
    own.mkdir()
    ports = {"PORT": str(web.port), "HEALTH_PORT": str(health.port)}
    pod = Container(built, environment, mounted(parts, mariadb, tmp_path), ports)
    (statements,) = blocks(section("install.md", "Two replicas on one store"), "sql")
    with (
        made(mariadb, statements, STORE_PASSWORD, "session_bot_store"),
        slack_for(mariadb, tmp_path, web, MariaDBStage) as stage,
    ):
        bot = pod.start(own, tmp_path / "pod.log", SLACK_API_URL=stage.slack.api_url)
        try:
            bot.waits_for("ready")
            closes_a_session(stage)
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert health.request("GET", container[probe]["httpGet"]["path"])[0] == 200
            assert pod.healthy()
            assert web.request("GET", "/metrics")[0] == 404
        finally:
            bot.stop()
    assert list(own.iterdir()) == []


def test_what_the_guide_adds_in_kubernetes_leads_to_the_port_and_the_path_of_slacks_requests_alone() -> None:
    parts, (service, ingress) = in_kubernetes()
    spec = parts["Deployment"]["spec"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    environment = {one["name"]: one["value"] for one in spec["template"]["spec"]["containers"][0]["env"]}
    assert port["targetPort"] == 3000 != int(environment["HEALTH_PORT"])
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == (EVENTS, "Exact")
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}
