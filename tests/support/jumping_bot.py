"""The bot on a machine whose clock jumps: python -m tests.support.jumping_bot FILE.

FILE holds by how many seconds the clock is wrong; it is read again each time somebody asks for the time. Time that
nobody sets, that of the boot and the monotonic one, goes on as it does when somebody sets a machine's clock.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from bot.__main__ import main


def jump(file: Path) -> None:
    """Let the clock of this process be wrong by what the file says."""
    right = time.time

    def wrong() -> float:
        by = 0.0
        with contextlib.suppress(OSError, ValueError):
            by = float(file.read_text(encoding="ascii"))
        return right() + by

    time.time = wrong


if __name__ == "__main__":
    jump(Path(sys.argv[1]))
    sys.exit(main(["run"]))
