"""The wheel, and the bot as the Dockerfile installs it: nothing of this checkout is needed to run it."""

from __future__ import annotations

import signal
import site
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from bot import __version__
from sandbox.processes import stop_leftover
from tests.conftest import installed_server
from tests.support.http_bot import free_port
from tests.support.image import Built, build, clean
from tests.support.lock import pinned
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Install the bot as the image has it."""
    return build(tmp_path_factory.mktemp("image"))


def test_the_wheel_holds_every_file_of_the_bot_and_nothing_else(built: Built) -> None:
    ours = {
        str(file.relative_to(ROOT))
        for folder in ("bot", "commands")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(built.wheel) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == ours
    assert "sandbox/slack/static/index.html" in inside


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
        assert "data_sources: there is no data source; add a [data_sources.NAME] section" in told
        assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_without_the_demos_extra_the_demo_says_what_to_install(built: Built, tmp_path: Path) -> None:
    result = built.run("session-bot", "demo", folder=tmp_path)
    assert result.returncode == 1
    assert 'pip install "session-bot[demo]"' in result.stderr


def test_the_demo_runs_from_the_wheel_in_an_environment_without_this_checkout(built: Built, tmp_path: Path) -> None:
    installed_server()
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=PATIENCE)
    here = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv), "install", "-q"]
    subprocess.run([*here, "--no-deps", "--no-index", str(built.wheel)], check=True, timeout=PATIENCE)
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
