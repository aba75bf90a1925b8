"""The payloads that Slack sends to an app: slash commands, presses, submitted and closed modals."""

from __future__ import annotations

import copy
import secrets

from sandbox.slack.refusals import Json
from sandbox.slack.workspace import Message, View, Workspace
from sandbox.slack.world import Channel, Member, World

VERIFICATION_TOKEN = "sandbox-verification-token"  # noqa: S105 - deprecated by Slack, proves nothing


def channel_name(channel: Channel) -> str:
    """How Slack names a conversation in payloads: a private one is not told by its name."""
    if channel.is_direct:
        return "directmessage"
    return "privategroup" if channel.is_private else channel.name


class Payloads:
    """Builds payloads for one workspace; with `bare` what Slack does not promise is left out."""

    def __init__(self, workspace: Workspace, base_url: str) -> None:
        self._workspace = workspace
        self._base_url = base_url

    @property
    def _world(self) -> World:
        return self._workspace.world

    def command(
        self, person: Member, channel: Channel, typed: str, trigger_id: str, response_path: str, *, bare: bool
    ) -> Json:
        """Build a slash command's payload from the line as typed."""
        command, *rest = typed.split(None, 1)
        payload = {
            "team_id": self._world.place(person, channel),
            "channel_id": channel.id,
            "user_id": person.id,
            "command": command,
            "text": rest[0].rstrip() if rest else "",
            "api_app_id": self._world.bot.app_id,
            "is_enterprise_install": "true" if self._world.org_wide else "false",
            "response_url": self._base_url + response_path,
            "trigger_id": trigger_id,
        }
        if self._world.enterprise is not None:
            payload |= {
                "enterprise_id": self._world.enterprise.id,
                "enterprise_name": self._world.enterprise.name,
            }
        if not bare:
            payload["token"] = VERIFICATION_TOKEN
            payload["team_domain"] = self._world.team_domain
            payload["channel_name"] = channel_name(channel)
            payload["user_name"] = person.username
        return payload

    def _interaction(self, kind: str, person: Member, trigger_id: str | None, *, bare: bool) -> Json:
        """Build what all of them have: `team` and `enterprise` are the app's, whosever press it is."""
        user = {"id": person.id, "team_id": self._world.home(person)}
        team = {"id": self._world.team_id}
        enterprise = self._world.enterprise
        payload: Json = {
            "type": kind,
            "user": user,
            "team": None if self._world.org_wide else team,
            "api_app_id": self._world.bot.app_id,
            "enterprise": {"id": enterprise.id, "name": enterprise.name} if enterprise is not None else None,
            "is_enterprise_install": self._world.org_wide,
        }
        if trigger_id is not None:
            payload["trigger_id"] = trigger_id
        if not bare:
            payload["token"] = VERIFICATION_TOKEN
            user |= {"username": person.username, "name": person.username}
            team["domain"] = self._world.team_domain
        return payload

    def press_on_message(
        self,
        person: Member,
        message: Message,
        action: Json,
        state: Json,
        *,
        trigger_id: str,
        response_path: str,
        bare: bool,
    ) -> Json:
        """Build what a press on a message sends; one on an ephemeral message does not show the message."""
        ephemeral = message.only_for is not None
        channel = self._workspace.channel(message.channel)
        payload = self._interaction("block_actions", person, trigger_id, bare=bare)
        payload["container"] = {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": ephemeral,
        }
        if message.thread_ts:
            payload["container"]["thread_ts"] = message.thread_ts
        payload["channel"] = {"id": message.channel}
        if not bare and channel:
            payload["channel"]["name"] = channel_name(channel)
        if not bare and not ephemeral:
            payload["message"] = self.message(message)
        payload["state"] = {"values": state}
        payload["response_url"] = self._base_url + response_path
        payload["actions"] = [action]
        return payload

    def press_in_view(
        self, person: Member, view: View, action: Json, state: Json, trigger_id: str, *, bare: bool
    ) -> Json:
        """Build what a press inside a modal sends."""
        payload = self._interaction("block_actions", person, trigger_id, bare=bare)
        payload["container"] = {"type": "view", "view_id": view.id}
        payload["view"] = self.view(view, state)
        payload["actions"] = [action]
        return payload

    def submission(self, person: Member, view: View, state: Json, trigger_id: str, *, bare: bool) -> Json:
        """Build what submitting a modal sends."""
        payload = self._interaction("view_submission", person, trigger_id, bare=bare)
        payload["view"] = self.view(view, state)
        payload["response_urls"] = []
        return payload

    def closed(self, person: Member, view: View, *, cleared: bool, bare: bool) -> Json:
        """Build what closing a modal sends."""
        payload = self._interaction("view_closed", person, None, bare=bare)
        payload["view"] = self.view(view, {})
        payload["is_cleared"] = cleared
        return payload

    def home_opened(self, person: Member, tab: str, view: View | None, now: float) -> Json:
        """Build the event that somebody opened the app's Home tab or, under the same name, that of its messages."""
        event: Json = {
            "type": "app_home_opened",
            "user": person.id,
            "channel": "D" + person.id[1:],
            "tab": tab,
            "event_ts": f"{now:.6f}",
        }
        if view is not None and tab == "home":
            event["view"] = self.view(view, {})
        return {
            "type": "event_callback",
            "token": VERIFICATION_TOKEN,
            "team_id": self._world.team_id,
            "api_app_id": self._world.bot.app_id,
            "event": event,
            "event_id": "Ev" + secrets.token_hex(5).upper(),
            "event_time": int(now),
            "authorizations": [
                {
                    "enterprise_id": self._world.enterprise.id if self._world.enterprise is not None else None,
                    "team_id": None if self._world.org_wide else self._world.team_id,
                    "user_id": self._world.bot.user_id,
                    "is_bot": True,
                    "is_enterprise_install": self._world.org_wide,
                }
            ],
        }

    def message(self, message: Message) -> Json:
        """Show a message as the Web API does."""
        bot = self._world.bot
        shown: Json = {
            "type": "message",
            "ts": message.ts,
            "text": message.text,
            "user": message.user,
            "team": self._world.team_id,
        }
        if message.user == bot.user_id:
            shown |= {"bot_id": bot.bot_id, "app_id": bot.app_id}
        if message.blocks:
            shown["blocks"] = copy.deepcopy(message.blocks)
        if message.thread_ts:
            shown["thread_ts"] = message.thread_ts
        if message.edited:
            shown["edited"] = {"user": message.user, "ts": message.ts}
        return shown

    def view(self, view: View, state: Json) -> Json:
        """Show a modal or a Home tab as the Web API and the payloads do."""
        body = copy.deepcopy(view.body)
        enterprise = self._world.enterprise
        installed = enterprise.id if enterprise is not None and enterprise.org_wide else self._world.team_id
        return {
            "id": view.id,
            "team_id": self._world.team_id,
            "type": body["type"],
            "blocks": body["blocks"],
            "private_metadata": body.get("private_metadata", ""),
            "callback_id": body.get("callback_id", ""),
            "external_id": body.get("external_id", ""),
            "state": {"values": state},
            "hash": view.hash,
            "title": body.get("title"),
            "submit": body.get("submit"),
            "close": body.get("close"),
            "clear_on_close": body.get("clear_on_close", False),
            "notify_on_close": body.get("notify_on_close", False),
            "previous_view_id": view.previous_id,
            "root_view_id": view.root_id,
            "app_id": self._world.bot.app_id,
            "app_installed_team_id": installed,
            "bot_id": self._world.bot.bot_id,
        }
