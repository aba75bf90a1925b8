"""The bot, not ready once Slack has been away for 3 s; SIGUSR1 takes its listening sockets: tests.support.deaf_bot.

Run it with python -m.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from bot.operations import health, web_server

AWAY = 3.0  # seconds, instead of 60


class _Listener(web_server._Listener):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        # The socket alone, as if the system took it: what listens finds that out by itself.
        signal.signal(signal.SIGUSR1, lambda *_: self.socket.close())


if __name__ == "__main__":
    health.AWAY = AWAY
    web_server._Listener = _Listener  # type: ignore[misc]  # what it is for
    from bot.__main__ import main  # from here on, as it is imported from there

    sys.exit(main(["run"]))
