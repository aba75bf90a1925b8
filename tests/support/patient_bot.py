"""The bot, which waits half a minute for a server that says nothing: python -m tests.support.patient_bot.

Only the time is another one: a test sees what comes before it is over.
"""

from __future__ import annotations

import sys

from bot.sessions import endpoint

if __name__ == "__main__":
    endpoint.READ_TIMEOUT = 30
    from bot.__main__ import main  # from here on, as it is imported from there

    sys.exit(main(["run"]))
