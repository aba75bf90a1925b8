"""The bot on a machine whose clock jumps: python -m tests.support.jumping_bot FILE.

FILE holds by how many seconds the clock is wrong; it is read again each time somebody asks for the time. Time that
nobody sets, that of the boot and the monotonic one, goes on as it does when somebody sets a machine's clock.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from datetime import datetime as Real  # noqa: N812  # beside the one that is wrong
from pathlib import Path
from typing import Self


def jump(file: Path) -> None:
    """Let both clocks that Python knows be wrong by what the file says; before anybody has imported them by name."""
    right = time.time

    def wrong() -> float:
        by = 0.0
        with contextlib.suppress(OSError, ValueError):
            by = float(file.read_text(encoding="ascii"))
        return right() + by

    class Kind(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, Real)

    class Wrong(Real, metaclass=Kind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return cls.fromtimestamp(wrong(), tz)

    time.time = wrong
    datetime.datetime = Wrong  # type: ignore[misc]  # what it is for


if __name__ == "__main__":
    jump(Path(sys.argv[1]))
    from bot.__main__ import main  # only now: it and what it uses take their clocks by name

    sys.exit(main(["run"]))
