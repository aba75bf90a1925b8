"""The Dockerfile, read as Docker reads it, and its build stage done by hand: there may be no Docker here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pip

from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT

PACKAGES = ("bot", "commands", "sandbox")
KNOWN = {
    "ARG",
    "FROM",
    "WORKDIR",
    "COPY",
    "RUN",
    "ENV",
    "USER",
    "VOLUME",
    "EXPOSE",
    "LABEL",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``words`` as in a shell, or those of its JSON list."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, flags left out."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return [word for word in shlex.split(self.text) if not word.startswith("--")]

    @property
    def from_stage(self) -> bool:
        """Whether a COPY takes from another stage."""
        return "--from=" in self.text


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first; raises ``ValueError`` for what is no instruction."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    found: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        if name not in KNOWN or not arguments.strip():
            raise ValueError(line)
        if name == "FROM":
            found.append([])
        if found:  # an ARG before the first FROM is of no stage
            found[-1].append(Instruction(name, arguments.strip()))
    return found


def in_context(name: str) -> bool:
    """Whether .dockerignore lets Docker see that file or folder; the last line that fits decides."""
    seen = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and fnmatch(name, pattern):
            seen = line.startswith("!")
    return seen


@dataclass(frozen=True)
class Built:
    """What the build stage left behind; ``base`` is the environment that it builds in."""

    base: Path
    venv: Path
    wheel: Path

    def run(self, *command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run something of the image's environment, with nothing of this one's Python and no configuration."""
        return subprocess.run(
            [str(self.venv / "bin" / command[0]), *command[1:]],
            cwd=folder,
            env={**clean(), **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def clean() -> dict[str, str]:
    """The environment without what would lead a bot or a Python elsewhere."""
    ours = ("SLACK_", "SESSION_BOT", "PYTHON", "VIRTUAL_ENV", "DEMO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def build(folder: Path) -> Built:
    """Do what the build stage says, with a plain virtual environment for the base image's Python."""
    base = folder / "base"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base], env=clean(), check=True, timeout=PATIENCE)
    # The pip at hand will do, and is there in no time.
    (library,) = (base / "lib").glob("python3*/site-packages")
    (library / "pip").symlink_to(Path(pip.__file__).parent)
    places = {"/opt/session-bot": str(folder / "opt"), "/wheels": str(folder / "wheels")}
    context = folder
    for instruction in stages()[0][1:]:
        if instruction.name == "WORKDIR":
            context = folder / instruction.text.strip("/")
            context.mkdir()
        elif instruction.name == "COPY":
            *sources, target = instruction.words
            for source in sources:
                _copy(ROOT / source, context / target / (source if len(sources) > 1 or target == "./" else ""))
        else:
            assert instruction.name == "RUN", instruction
            command = instruction.text
            for place, here in places.items():
                command = command.replace(place, here)
            path = f"{base / 'bin'}{os.pathsep}{os.environ['PATH']}"
            environment = {**clean(), "PATH": path, "PIP_NO_COMPILE": "1"}
            done = subprocess.run(
                command,
                shell=True,
                cwd=context,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    (wheel,) = (folder / "wheels").glob("*.whl")
    return Built(base, folder / "opt", wheel)


def build_wheel(built: Built, folder: Path) -> Path:
    """Build the wheel of this whole checkout, with what the image's is built with."""
    context = folder / "checkout"
    context.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", *PACKAGES):
        _copy(ROOT / name, context / name)
    command = [
        str(built.base / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "-q",
        "--no-deps",
    ]
    command += ["--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(context)]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (wheel,) = folder.glob("*.whl")
    return wheel


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
