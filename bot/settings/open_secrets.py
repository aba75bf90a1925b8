"""Files that hold secrets and that everybody on the machine may read: that is warned of, and no reason not to start."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bot.settings.sources import Read, is_dict

_EVERYBODY = 0o006  # may read or write. A group may be there for that: Kubernetes' fsGroup is.


def warnings(read: Read) -> list[str]:
    """Say which files everybody may read, and what to do."""
    found = []
    secrets = [Path(read.secrets.path(name)) for name in read.secrets.values]
    if is_open := [one for one in secrets if _is_open(one)]:
        found.append(
            "SESSION_BOT_SECRETS: the mode of these files lets everybody on the machine read them: "
            f"{shlex.join(map(str, is_open))}. chmod o= them; in Kubernetes set defaultMode: 0440 for their volume"
        )
    # The file is the first place that is for no key of its own.
    inside: Mapping[str, Any] = next((one.raw for one in read.places if not one.at), {})
    if read.file is not None and _holds_secrets(inside) and _is_open(read.file):
        found.append(
            f"{read.file}: it holds a password, and its mode lets everybody on the machine read it. Put that into a "
            f"file of SESSION_BOT_SECRETS, or chmod o= {shlex.quote(str(read.file))}"
        )
    return found


def _is_open(file: Path) -> bool:
    with contextlib.suppress(OSError):  # what cannot be read is told elsewhere
        return bool(file.stat().st_mode & _EVERYBODY)
    return False


def _holds_secrets(raw: Mapping[str, Any]) -> bool:
    sources, store = raw.get("data_sources"), raw.get("store")
    passwords = [one.get("password") for one in sources.values() if is_dict(one)] if is_dict(sources) else []
    return any(passwords) or (is_dict(store) and "@" in str(store.get("url")))
