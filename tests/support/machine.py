"""A machine for the commands of docs/install.md: a temporary root, and stand-ins for what a test must not do."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

import pip

from sandbox.processes import tail
from tests.support.image import PACKAGES, clean
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT

ACCOUNT = 61001  # who `session-bot` is there: nobody's user and group on any real machine
AS_USER = ("setpriv", "--reuid", str(ACCOUNT), "--regid", str(ACCOUNT), "--clear-groups")
# What the guide's commands find in a checkout.
CHECKOUT = (
    *PACKAGES,
    "deploy",
    "compose.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.lock",
    "requirements-build.lock",
)

_RECORDED = ("useradd", "systemctl", "journalctl", "docker", "kubectl")  # nothing happens; the test looks at them
_RECORD = 'echo "$(basename "$0") $*" >> "$RECORD"\n'
# Environments in no time: the pip at hand, and in the place of what
# requirements.lock names the packages of the tests' own environment.
_PYTHON = """
if [ "$1 $2" = "-m venv" ]; then
  "$PYTHON" -m venv --without-pip "$3"
  for library in "$3"/lib/python3*/site-packages; do ln -s "$PIP_PACKAGE" "$library/pip"; done
  printf '%s\\n' '#!/bin/bash' "exec pip-of '$3' \\"\\$@\\"" > "$3/bin/pip"
  chmod 0755 "$3/bin/pip"
else
  exec "$PYTHON" "$@"
fi
"""
_PIP = """
venv=$1; shift
if [[ "$*" == *"--require-hashes"*"-r requirements.lock" ]]; then
  for library in "$venv"/lib/python3*/site-packages; do printf '%s\\n' "$BORROWED" > "$library/borrowed.pth"; done
elif [[ "$*" == *"-r requirements-build.lock" ]]; then
  exec "$venv/bin/python" -m pip -q "$@" --no-compile # it is used once
else
  exec "$venv/bin/python" -m pip -q "$@"
fi
"""
# Owners are set where whoever runs the test may set them.
_INSTALL = """
arguments=()
while (($#)); do
  case $1 in
    -o|-g) [[ $2 == session-bot ]] || exit 9; ((EUID)) || arguments+=("$1" "$ACCOUNT"); shift 2;;
    *) arguments+=("$1"); shift;;
  esac
done
PATH=$OTHERS
exec install "${arguments[@]}"
"""
_CHANGE_OWNER = """
arguments=()
for argument; do
  case $argument in
    session-bot) arguments+=("$ACCOUNT");;
    session-bot:session-bot) arguments+=("$ACCOUNT:$ACCOUNT");;
    *) arguments+=("$argument");;
  esac
done
PATH=$OTHERS
((EUID)) || exec "$(basename "$0")" "${arguments[@]}"
"""
_RUNUSER = '[[ "$1 $2 $3" == "-u session-bot --" ]] || exit 9\nshift 3\nexec $AS_ACCOUNT "$@"\n'


class Machine:
    """A root of its own, with a checkout, and one shell whose commands are run block by block.

    Where the test runs as root, and another user may use its Python, the bot runs as another user there, too, so that
    owners and modes count as on a real machine; elsewhere all of it is one user's.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="machine-"))
        self.root.chmod(0o755)  # others must come through
        self.checkout = self.root / "checkout"
        self.checkout.mkdir()
        for name in CHECKOUT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.checkout / name)
        for folder in ("bin", "opt", "etc/systemd/system", "var/lib", "var/backups"):
            (self.root / folder).mkdir(parents=True)
        self._folder = self.checkout
        self._record = self.root / "record"
        self._record.touch()
        for name in _RECORDED:
            self._program(name, _RECORD)
        done = {"python3": _PYTHON, "pip-of": _PIP, "install": _INSTALL, "runuser": _RUNUSER}
        for name, text in (done | dict.fromkeys(("chown", "chgrp"), _CHANGE_OWNER)).items():
            self._program(name, text)

    def close(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.root, ignore_errors=True)

    def runs(self, block: str, secrets: Mapping[str, str] | None = None, status: int = 0) -> str:
        """Run a block of commands where the one before has ended, and return what it says.

        ``secrets`` are what people paste into the files of that name: each for a line ``cat > …/NAME``.
        """
        for name, value in (secrets or {}).items():
            block, found = re.subn(rf"cat > (\S*/)?{name}(?=\s)", rf"echo {shlex.quote(value)} > \g<1>{name}", block)
            assert found == 1, name
        assert "cat >" not in block
        last = self.root / "folder"
        script = f"set -euo pipefail\n{self.here(block)}\npwd > {last}\n"
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=self._folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == status, f"{script}\n{done.stdout}\n{done.stderr}"
        if status == 0:
            self._folder = Path(last.read_text(encoding="utf-8").strip())
        return done.stdout + done.stderr

    def here(self, text: str) -> str:
        """Return a text with paths of this root in the place of a machine's."""
        return re.sub(r"(?<![\w./-])/(opt|etc|var)/", rf"{self.root}/\1/", text)

    def path(self, name: str) -> Path:
        """Return where a file of a machine is."""
        return Path(self.here(name))

    def recorded(self) -> list[str]:
        """Return the commands that only a real machine could carry out, and forget them."""
        lines = self._record.read_text(encoding="utf-8").splitlines()
        self._record.write_text("", encoding="utf-8")
        return lines

    @cached_property
    def python(self) -> str:
        """The Python of this machine: one that another user can run as well, if there is one."""
        return next(filter(runs_for_others, pythons()), sys.executable)

    @cached_property
    def as_account(self) -> list[str]:
        """What runs a program as the bot's user; [] where that cannot be."""
        return [*AS_USER, "--"] if runs_for_others(self.python) else []

    @property
    def environment(self) -> dict[str, str]:
        """What the shell's commands get."""
        return {
            **clean(),
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHON": self.python,
            "PIP_PACKAGE": str(Path(pip.__file__).parent),
            "BORROWED": "\n".join(site.getsitepackages()),
            "ACCOUNT": str(ACCOUNT),
            "AS_ACCOUNT": shlex.join(self.as_account),
            "OTHERS": os.environ["PATH"],
            "RECORD": str(self._record),
        }

    def _program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/bash\n{textwrap.dedent(text)}", encoding="utf-8")
        path.chmod(0o755)


def pythons() -> list[str]:
    """The Pythons at hand that can use the packages of this one."""
    version = f"python3.{sys.version_info.minor}"
    return [sys.executable, *filter(None, [shutil.which(version, path="/usr/local/bin:/usr/bin")])]


@cache
def runs_for_others(python: str) -> bool:
    """Whether a program of that Python can be run as another user, with what the bot runs on."""
    if os.geteuid() != 0 or shutil.which(AS_USER[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "program"
        packages = [str(ROOT), *site.getsitepackages()]
        program.write_text(f"#!{python}\nimport sys\nsys.path += {packages}\nimport bot.wiring\n", encoding="utf-8")
        program.chmod(0o755)
        tried = subprocess.run(
            [*AS_USER, "--", "env", str(program)], env=clean(), capture_output=True, check=False, timeout=PATIENCE
        )
    return tried.returncode == 0


class Program:
    """A bot that somebody started: its log, its signals, its end."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        self.id = self._process.pid

    def waits_for(self, event: str) -> None:
        """Wait until the log has a line of that event."""
        deadline = time.monotonic() + PATIENCE
        while f'"event": "{event}"' not in self.log.read_text(encoding="utf-8"):
            assert self._process.poll() is None, f"it has ended:\n{tail(self.log, 40)}"
            assert time.monotonic() < deadline, f"no {event}:\n{tail(self.log, 40)}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as systemd and Docker do; it must end well."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(PATIENCE)
        assert status == 0, f"it ended with {status}:\n{tail(self.log, 40)}"


class Unit:
    """A unit of systemd and what `systemctl edit` adds to it, as far as it says how its program runs."""

    def __init__(self, machine: Machine, name: str, **instead: str) -> None:
        """``instead`` are values of variables in the place of the unit's: ports that are free."""
        self._machine = machine
        folder = machine.path("/etc/systemd/system/")
        texts = [(folder / name).read_text(encoding="utf-8")]
        texts += [one.read_text(encoding="utf-8") for one in sorted((folder / f"{name}.d").glob("*.conf"))]
        self.lines = [pair for text in texts for pair in service_lines(text)]
        self._instead = instead

    def value(self, key: str) -> str:
        """Return the last value of a key."""
        return [value for name, value in self.lines if name == key][-1]

    def start(self, log: Path, **environment: str) -> Program:
        """Start its program as it says: user, folder, environment."""
        return Program(self._command("ExecStart"), self._folder, self._environment(environment), log)

    def reload(self, **environment: str) -> None:
        """Do what `systemctl reload` does; it fails where the bot refuses the configuration."""
        subprocess.run(
            self._command("ExecReload"),
            cwd=self._folder,
            env=self._environment(environment),
            check=True,
            timeout=PATIENCE,
        )

    @property
    def _folder(self) -> Path:
        return Path(self._machine.here(self.value("WorkingDirectory").replace("%S", "/var/lib")))

    def _command(self, key: str) -> list[str]:
        assert self.value("User") == "session-bot"
        return [*self._machine.as_account, *shlex.split(self._machine.here(self.value(key)))]

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        given = dict(value.split("=", 1) for name, value in self.lines if name == "Environment")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._machine.path("/var/lib/session-bot")),  # as systemd does for a User=
            **more,
            **{name: self._machine.here(value) for name, value in given.items()},
            **self._instead,
        }


def service_lines(text: str) -> list[tuple[str, str]]:
    """The lines of a unit's [Service], in order; a key may stand there more than once."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    assert parser.has_section("Service")
    inside = re.search(r"^\[Service\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    assert inside is not None
    lines = [line for line in inside[1].splitlines() if line and not line.startswith("#")]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]
