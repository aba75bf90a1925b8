"""Dockerfile, compose.yaml and what is in deploy/: read and tried as far as that goes without Docker or a cluster."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import __version__
from bot.operations.lifecycle import EXIT_AFTER
from bot.settings import SlackSettings, load
from tests.conftest import leave_out
from tests.support.documents import blocks, document, section
from tests.support.fields import COMPOSE as COMPOSE_FIELDS
from tests.support.fields import KUBERNETES as KUBERNETES_FIELDS
from tests.support.fields import mistakes
from tests.support.image import clean, in_context, stages
from tests.support.machine import service_lines
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT

EXAMPLE = (ROOT / "deploy" / "session-bot.example.toml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
KUBERNETES: dict[str, dict[str, Any]] = {
    one["kind"]: one for one in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8"))
}
UNIT = ROOT / "deploy" / "session-bot.service"

# What the bot reads besides SESSION_BOT__…, which `load` itself checks; the ports are HTTP mode's.
NAMES = {"SESSION_BOT_CONFIG", "SESSION_BOT_SECRETS", "PORT", "BIND_ADDRESS", "HEALTH_PORT", "HEALTH_BIND_ADDRESS"} | {
    f"SLACK_{name.upper()}" for name in SlackSettings.model_fields
}
SAMPLES = {
    "SLACK_BOT_TOKEN": "xoxb-1",
    "SLACK_APP_TOKEN": "xapp-1",
    "SESSION_BOT__STORE__URL": "mysql+pymysql://bot:p@store/bot",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave nothing in the environment that would be read as a setting."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean().keys():
        monkeypatch.delenv(name)


def problems(monkeypatch: pytest.MonkeyPatch, folder: Path, toml: str, secrets: Path) -> list[str]:
    """Return what the bot would say of that configuration."""
    config = folder / "session-bot.toml"
    config.write_text(toml, encoding="utf-8")
    monkeypatch.setenv("SESSION_BOT_CONFIG", str(config))
    monkeypatch.setenv("SESSION_BOT_SECRETS", str(secrets))
    loaded = load()
    assert loaded.problems or loaded.settings is not None
    if loaded.settings is not None:
        assert loaded.settings.store.url.get_secret_value().startswith(("mysql", "sqlite"))
        assert loaded.settings.data_sources["prod"].password.get_secret_value() == "of-the-account"
    return loaded.problems


def secrets_of(names: set[str], folder: Path) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(SAMPLES.get(name, "of-the-account") + "\n", encoding="utf-8")
    return folder


def test_the_image_copies_what_is_there_and_nothing_that_dockerignore_hides() -> None:
    for instruction in stages()[0]:
        if instruction.name == "COPY":
            for source in instruction.words[:-1]:
                assert (ROOT / source).exists(), source
                assert in_context(source), f".dockerignore hides {source}"
    for name in (".git", "tests", "secrets", "session-bot.toml", ".venv", ".demo", "session-bot.db"):
        assert not in_context(name), f"{name} would go to the Docker daemon"


def test_the_image_runs_the_bot_as_nobody_in_particular_with_nothing_to_compile_or_install() -> None:
    building, final = stages()
    by_name = {one.name: one for one in final}
    user, group = by_name["USER"].text.split(":")
    assert user.isdecimal()
    assert int(user) == int(group) > 0
    assert [by_name["ENTRYPOINT"].words, by_name["CMD"].words] == [["session-bot"], ["run"]]
    (taken,) = [one for one in final if one.name == "COPY"]
    assert taken.from_stage
    venv = taken.words[0]
    assert any(f"venv --without-pip {venv}" in one.text for one in building)
    assert f"PATH={venv}/bin:" in by_name["ENV"].text
    for one in (*building, *final):
        if one.name == "RUN":
            assert not re.search(r"\b(apt-get|apk|gcc|build-essential|curl|wget)\b", one.text)
            if "-r " in one.text:
                assert "--require-hashes" in one.text
                assert "--only-binary :all:" in one.text
    order = [one.name for one in final]
    assert order.index("USER") > max(index for index, name in enumerate(order) if name == "RUN")


def test_the_image_says_what_it_is_in_labels() -> None:
    (labels,) = [one for one in stages()[1] if one.name == "LABEL"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert dict(word.split("=", 1) for word in labels.words) == {
        "org.opencontainers.image.title": project["name"],
        "org.opencontainers.image.description": project["description"],
        "org.opencontainers.image.version": __version__,
        "org.opencontainers.image.licenses": project["license"],
    }


def test_the_version_is_the_bots_wherever_one_is_to_be_typed_or_pulled() -> None:
    guide = document("install.md").partition("The service of 0.1.0 ran")[0]
    texts = {
        "the guide": guide,
        "compose.yaml": (ROOT / "compose.yaml").read_text(encoding="utf-8"),
        "kubernetes.yaml": (ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8"),
    }
    for name, text in texts.items():
        assert set(re.findall(r"\bsession-bot[-:](\d[\w.]*\w)", text)) == {__version__}, name


def test_the_changelog_has_a_section_for_the_version_and_for_each_that_the_guide_names() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert released[0] == __version__
    assert set(re.findall(r"\b\d+\.\d+\.0\b", section("install.md", "Upgrading"))) <= set(released)


class _Health(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:  # the name is http.server's
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # same
        """Say nothing."""


@pytest.fixture
def health() -> Iterator[tuple[type[_Health], int]]:
    """Give a server that answers /readyz with a status of the test's choice."""

    class Answers(_Health):
        pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Answers, server.server_port
        server.shutdown()
        thread.join()


def test_the_images_health_check_tells_a_bot_of_use_from_one_that_is_not(health: tuple[type[_Health], int]) -> None:
    answers, port = health
    (check,) = [one for one in stages()[1] if one.name == "HEALTHCHECK"]
    command = check.text[check.text.index("CMD") + 3 :].strip()
    words = yaml.safe_load(command)
    assert words[0] == "python"
    # A proxy for the way to Slack must not come between.
    environment = {**clean(), "PORT": "1", "HEALTH_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}

    def healthy(**more: str) -> bool:
        done = subprocess.run(
            [sys.executable, *words[1:]],
            env={**environment, **more},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode == 0

    assert healthy()
    assert healthy(BIND_ADDRESS="127.0.0.2", HEALTH_BIND_ADDRESS="127.0.0.1")
    assert not healthy(HEALTH_BIND_ADDRESS="127.0.0.2")
    assert healthy(PORT=str(port), HEALTH_PORT=""), "in HTTP mode all of it is on PORT then"
    answers.status = 503
    assert not healthy()
    assert not healthy(HEALTH_PORT="1")


def test_compose_and_kubernetes_know_every_field_that_is_used() -> None:
    assert list(mistakes(COMPOSE, "compose", COMPOSE_FIELDS)) == []
    (added,) = blocks(section("install.md", "In Kubernetes"), "yaml")
    for one in (*KUBERNETES.values(), *yaml.safe_load_all(added)):
        assert list(mistakes(one, one["kind"], KUBERNETES_FIELDS)) == []


def test_a_field_that_neither_knows_is_told() -> None:
    service = {"image": "bot", "read-only": True, "cap_drop": "ALL", "depends_on": {"store": {}}}
    assert list(mistakes({"services": {"bot": service}}, "compose", COMPOSE_FIELDS)) == [
        "compose.services.*.read-only is no field",
        "compose.services.*.cap_drop is a str",
        "compose.services.*.depends_on.*.condition is missing",
    ]
    container = {"name": "bot", "livenessProbe": {"httpGet": {"path": "/livez"}}, "env": [{"name": "A", "value": 1}]}
    assert list(mistakes({"containers": [container]}, "Deployment.spec.template.spec", KUBERNETES_FIELDS)) == [
        "Deployment.spec.template.spec.containers[].livenessProbe.httpGet.port is missing",
        "Deployment.spec.template.spec.containers[].env[].value is a int",
    ]


def test_compose_runs_two_replicas_that_can_write_nowhere_and_share_one_store() -> None:
    bot = COMPOSE["services"]["bot"]
    assert bot["deploy"]["replicas"] == 2
    assert (bot["read_only"], bot["cap_drop"], bot["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert "ports" not in bot
    assert set(bot["networks"]) == set(COMPOSE["networks"])
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert COMPOSE["services"]["store"]["networks"] == ["store"], "the store cannot be reached from outside"
    for service in COMPOSE["services"].values():
        assert set(service["secrets"]) <= set(COMPOSE["secrets"])


def test_what_compose_hands_the_bot_is_a_whole_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bot = COMPOSE["services"]["bot"]
    assert set(bot["environment"]) <= NAMES
    assert {name for name in bot["secrets"] if name.startswith("SLACK_")} <= NAMES
    for name in bot["secrets"]:
        assert COMPOSE["secrets"][name]["file"] == f"./secrets/{name}"
    (mounted,) = bot["volumes"]
    assert mounted.split(":")[1:] == [str(Path(bot["environment"]["SESSION_BOT_CONFIG"]).parent), "ro"]
    assert bot["environment"]["SESSION_BOT_SECRETS"] == "/run/secrets"
    assert problems(monkeypatch, tmp_path, EXAMPLE, secrets_of(set(bot["secrets"]), tmp_path / "secrets")) == []


def test_what_kubernetes_hands_the_bot_is_a_whole_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = set(KUBERNETES["Secret"]["stringData"])
    assert {name for name in given if name.startswith("SLACK_")} <= NAMES
    # A volume of a Secret: each file is a link into a hidden folder, which is a link itself.
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    secrets_of(given, mounted / "..2026_11_21")
    (mounted / "..data").symlink_to("..2026_11_21")
    for name in given:
        (mounted / name).symlink_to(f"..data/{name}")
    toml = KUBERNETES["ConfigMap"]["data"]["session-bot.toml"]
    (left_open,) = problems(monkeypatch, tmp_path, toml, mounted)
    assert ": data_sources.prod.host: " in left_open, "what stands in angle brackets is no address yet"
    toml = toml.replace("<address of an observer>", "10.0.0.1")
    assert problems(monkeypatch, tmp_path, toml, mounted) == []


def test_kubernetes_runs_it_without_rights_and_gives_it_time_to_end() -> None:
    spec = KUBERNETES["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["replicas"] == 2
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == spec["selector"]["matchLabels"]
    assert {one["name"] for one in container["env"]} <= NAMES
    assert pod["terminationGracePeriodSeconds"] >= 20
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    context = container["securityContext"]
    assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
    assert context["capabilities"] == {"drop": ["ALL"]}
    (user,) = [one.text.split(":")[0] for one in stages()[1] if one.name == "USER"]
    assert pod["securityContext"]["runAsUser"] == int(user)
    (port,) = container["ports"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment["HEALTH_PORT"] == str(port["containerPort"])
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {name: one["path"] for name, one in probes.items()} == {
        "startupProbe": "/livez",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    for probe in probes.values():
        assert probe["port"] == port["name"]
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    assert str(Path(environment["SESSION_BOT_CONFIG"]).parent) in mounts
    assert environment["SESSION_BOT_SECRETS"] in mounts
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def unit() -> list[tuple[str, str]]:
    """The lines of the unit's [Service]."""
    return service_lines(UNIT.read_text(encoding="utf-8"))


def test_systemd_takes_the_unit_and_what_the_guide_adds_to_it_without_a_word(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        leave_out("there is no systemd-analyze on this machine", "systemd")
    there = tmp_path / "session-bot.service"
    # Whether the program is there is the only thing it cannot know.
    text = UNIT.read_text(encoding="utf-8").replace("/opt/session-bot/bin/session-bot", "/bin/true")
    there.write_text(text, encoding="utf-8")
    (drop_in,) = blocks(section("install.md", "As a service of systemd"), "ini")
    (tmp_path / "session-bot.service.d").mkdir()
    (tmp_path / "session-bot.service.d" / "override.conf").write_text(drop_in, encoding="utf-8")
    done = subprocess.run([analyze, "verify", there], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_the_unit_hands_the_bot_is_a_whole_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = dict(value.split("=", 1) for key, value in unit() if key == "Environment")
    assert {name for name in given if not name.startswith("PYTHON")} <= NAMES
    for name in given.keys() & {"HEALTH_PORT", "HEALTH_BIND_ADDRESS"}:
        monkeypatch.setenv(name, given[name])
    in_place_of_each_other = ("SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET")
    for mode in in_place_of_each_other:
        names = {"SLACK_BOT_TOKEN", mode, "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD"}
        assert problems(monkeypatch, tmp_path, EXAMPLE, secrets_of(names, tmp_path / mode)) == []


def test_the_unit_gives_the_bot_a_folder_and_time_and_no_rights() -> None:
    service = dict(unit())
    assert service["WorkingDirectory"] == f"%S/{service['StateDirectory']}", "where a store of one file is"
    assert EXIT_AFTER < int(service["TimeoutStopSec"]) <= 90, "systemd waits longer than the bot takes to end"
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["User"]) == ("yes", "strict", "session-bot")
    assert service["CapabilityBoundingSet"] == ""
    assert service["ExecReload"] == "/opt/session-bot/bin/session-bot reload"
