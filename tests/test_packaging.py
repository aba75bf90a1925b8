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
from tests.support.image import PACKAGES, Built, build, build_wheel, clean, in_context
from tests.support.lock import pinned
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT


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
