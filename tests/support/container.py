"""The image as a process: what the Dockerfile's steps made, run as its last lines and compose or Kubernetes say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.image import Built, stages
from tests.support.machine import Program
from tests.support.patience import PATIENCE


class Container:
    """A container that is no container: it sees all of this machine, and what is mounted at other paths.

    ``environment`` is what compose or Kubernetes set, ``mounts`` where what they mount is here, ``instead`` values of
    variables in the place of the image's and theirs: ports that are free.
    """

    def __init__(
        self, built: Built, environment: Mapping[str, str], mounts: Mapping[str, Path], instead: Mapping[str, str]
    ) -> None:
        self._final = {one.name: one for one in stages()[1]}
        self._built = built
        image = dict(word.split("=", 1) for word in self._final["ENV"].words)
        assert image["PATH"] == "/opt/session-bot/bin:$PATH"
        image["PATH"] = f"{built.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**image, **{name: _here(value, mounts) for name, value in environment.items()}, **instead}

    def start(self, folder: Path, log: Path, **more: str) -> Program:
        """Start what the image starts; ``folder`` stands for its own."""
        command = [*self._final["ENTRYPOINT"].words, *self._final["CMD"].words]
        return Program([str(self._built.venv / "bin" / command[0]), *command[1:]], folder, self._with(more), log)

    def healthy(self) -> bool:
        """Whether Docker would call it so."""
        check = self._final["HEALTHCHECK"].text
        return self.exec(json.loads(check[check.index("CMD") + 3 :])) == 0

    def exec(self, command: Sequence[str], **more: str) -> int:
        """Run something beside the bot, as ``docker compose exec`` does, and return its exit status."""
        path = self._built.venv / "bin" / command[0]
        return subprocess.run(
            [path, *command[1:]], env=self._with(more), check=False, capture_output=True, timeout=PATIENCE
        ).returncode

    def _with(self, more: Mapping[str, str]) -> dict[str, str]:
        # The image's packages are compiled by its pip, the test's are not: else each start would compile all of them.
        return {**self._environment, "HOME": "/var/lib/session-bot", "PYTHONDONTWRITEBYTECODE": "", **more}


def _here(value: str, mounts: Mapping[str, Path]) -> str:
    """Return a path where it is on this machine."""
    for inside, outside in mounts.items():
        if value == inside or value.startswith(f"{inside}/"):
            return f"{outside}{value.removeprefix(inside)}"
    return value
