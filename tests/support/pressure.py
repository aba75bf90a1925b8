"""How starved this machine is: what a test that fails by a limit of Slack's or of a server's should be judged by."""

from __future__ import annotations

import re
import time
from pathlib import Path

_FILE = Path("/proc/pressure/cpu")  # Linux since 4.20, where it is switched on


def waited() -> float | None:
    """Seconds since the start of this machine in which something wanted a CPU and had none; None where nobody knows."""
    try:
        found = re.search(r"^some .*total=(\d+)", _FILE.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1e6 if found else None


class Pressure:
    """What the machine was like from now on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = waited()

    def told(self) -> str:
        """Say for how much of the time somebody waited for a CPU; '' where that is not known."""
        now, seconds = waited(), time.monotonic() - self._began
        if now is None or self._before is None:
            return ""
        return f"In {now - self._before:.1f} of the {seconds:.1f} s of this test something waited for a CPU."
