"""The directory that ``SESSION_BOT_SECRETS`` names: its files are called like variables and hold a value each."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_settings import BaseSettings, EnvSettingsSource

from bot.settings import unreadable

# Of other files nothing is read: a directory of secrets may be shared.
_OURS = ("SLACK_", "SESSION_BOT", "SESSIONBOT", "SESSIONS", "PORT", "BIND_ADDRESS", "HEALTH_")
_MOST = 1 << 20  # bytes; whatever is longer is no secret


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the directory holds: values by the names of their files, and what is said of those that cannot be read."""

    folder: Path | None = None
    values: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    spoiled: tuple[str, ...] = ()  # the names of files that cannot be read

    def path(self, name: str) -> str:
        """Return a file's path, as people are told it."""
        return str(self.folder / name) if self.folder is not None else name


def read() -> Secrets:
    """Read the directory. Raises nothing: what cannot be read is among the problems."""
    named = os.environ.get("SESSION_BOT_SECRETS")
    if not named:
        return Secrets()
    folder = Path(named)
    try:
        # Kubernetes keeps what its links lead to in directories whose names begin with a dot.
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != "." and _is_ours(entry.name))
    except OSError as error:
        return Secrets(problems=[f"SESSION_BOT_SECRETS: {unreadable.directory(named, error)}"], spoiled=("*",))
    found = Secrets(folder)
    spoiled = []
    for name in names:
        try:
            found.values[name] = _text(folder / name)
        except (OSError, UnicodeDecodeError) as error:
            found.problems.append(f"{found.path(name)}: {unreadable.file(error)}")
            spoiled.append(name)
    return Secrets(folder, found.values, found.problems, tuple(spoiled))


def _is_ours(name: str) -> bool:
    return name.upper().startswith(_OURS)


def _text(path: Path) -> str:
    # To open a named pipe would wait for somebody who writes into it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise unreadable.PipeError
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise unreadable.TooLongError
    # Some editors begin a file with a mark that is no text.
    return content.decode("utf-8-sig").strip()


def source(settings_cls: type[BaseSettings], values: dict[str, str]) -> EnvSettingsSource:
    """Read these values as if they stood in the environment; an empty one counts as none."""
    made = EnvSettingsSource(settings_cls)
    made.env_vars = {name.lower(): value for name, value in values.items() if value}
    return made
