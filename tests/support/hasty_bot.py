"""The bot, which takes over what a silent replica left after 6 s instead of 20: python -m tests.support.hasty_bot.

Only the time is another one.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from bot.closing.store import leases

if __name__ == "__main__":
    leases.LEASE = timedelta(seconds=6)
    from bot.__main__ import main  # from here on, as it is imported from there

    sys.exit(main(["run"]))
