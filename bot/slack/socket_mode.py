"""Socket Mode by way of the proxy that the environment names for Slack's socket, if it does."""

from __future__ import annotations

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk.socket_mode import SocketModeClient

from bot.slack.connections import proxy_for

PING_EVERY = 10.0  # seconds


class SocketHandler(SocketModeHandler):
    """Bolt's handler with a client that heeds ``NO_PROXY``."""

    def __init__(self, app: App, app_token: str) -> None:
        # What Bolt's own does, which would make the SDK's client.
        self.app, self.app_token = app, app_token
        self.client = _Client(app_token, app.logger, app.client, ping_interval=PING_EVERY)
        self.client.socket_mode_request_listeners.append(self.handle)  # type: ignore[arg-type]  # so in Bolt too


class _Client(SocketModeClient):
    """The SDK's client, which takes the proxy of `HTTPS_PROXY` for any host; Slack names the host for each socket."""

    def issue_new_wss_url(self) -> str:
        """Ask Slack for the next socket, and find the way to it. Raises slack_sdk's errors and ``OSError``."""
        url = super().issue_new_wss_url()
        self.proxy = proxy_for(url)
        return url
