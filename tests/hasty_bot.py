"""The bot, which takes over what another replica left after seconds instead of a minute: python -m tests.hasty_bot.

Only the time is another one; it must be longer than a close takes in the tests that use it.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from bot.__main__ import main
from bot.closing import closer

if __name__ == "__main__":
    closer.LEASE = timedelta(seconds=6)  # type: ignore[attr-defined]  # imported there; what a press is given
    sys.exit(main(["run"]))
