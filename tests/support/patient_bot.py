"""The bot, which waits a minute for a server that says nothing: python -m tests.support.patient_bot.

Only the times are others: a test sees what comes before they are over.
"""

from __future__ import annotations

import sys

from bot import workers
from bot.sessions import endpoint

if __name__ == "__main__":
    endpoint.READ_TIMEOUT = 60
    workers.REFUSED_AFTER = 60.0
    from bot.__main__ import main  # from here on, as it is imported from there

    sys.exit(main(["run"]))
