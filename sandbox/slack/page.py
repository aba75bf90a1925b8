"""The page's side of the sandbox: what its JavaScript, and a person in a test, can see and do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.slack.delivery import NotAcknowledged
from sandbox.slack.home import Home
from sandbox.slack.interactions import Interactions
from sandbox.slack.refusals import Json, PersonRefused
from sandbox.slack.workspace import Message, View, Workspace, described, shown_home, shown_view
from sandbox.slack.world import Channel, Command, Member

NOT_ANSWERED = "The app did not answer in time."


class Page:
    """The page API. Whoever calls it says who they are: it is a sandbox, bound to this machine."""

    def __init__(
        self, workspace: Workspace, interactions: Interactions, home: Home, commands: tuple[Command, ...]
    ) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._interactions = interactions
        self._home = home
        self._commands = commands

    def routes(self) -> list[BaseRoute]:
        """Return the routes below /page."""
        return [
            Route("/page/world", self.world),
            Route("/page/state", self.state),
            WebSocketRoute("/page/ws", self.events),
            *(
                Route(f"/page/{name}", self._posted(answer), methods=["POST"])
                for name, answer in (
                    ("post", self.post),
                    ("act", self.act),
                    ("submit", self.submit),
                    ("close", self.close),
                    ("home", self.home),
                )
            ),
        ]

    def _posted(self, answer: Callable[[Member, Json], Awaitable[Json]]) -> Callable[[Request], Awaitable[Response]]:
        """Wrap what a person does: who they are comes first, refusals become 4xx."""

        async def handle(request: Request) -> Response:
            try:
                body = await _json_body(request)
                return JSONResponse(await answer(self._person(body.get("as")), body))
            except PersonRefused as refusal:
                return _refusal(refusal)
            except NotAcknowledged as failure:
                return JSONResponse({"ok": False, "error": failure.error, "message": NOT_ANSWERED})

        return handle

    def _person(self, user_id: object) -> Member:
        person = self._world.person(str(user_id))
        if person is None:
            raise PersonRefused("no_such_person", "Nobody here has that id.", 404)
        return person

    def _channel(self, person: Member, channel_id: object) -> Channel:
        channel = self._workspace.channel(str(channel_id))
        if channel is None or person.id not in channel.members:
            raise PersonRefused("no_such_channel", f"{person.name} is not in that channel.", 404)
        return channel

    def _message(self, person: Member, body: Json) -> Message:
        channel = self._channel(person, body.get("channel"))
        message = self._workspace.find(channel.id, str(body.get("message_key")))
        if message is None or person.id not in self._workspace.audience(message):
            raise PersonRefused("no_such_message", f"{person.name} sees no such message.", 404)
        return message

    def _view(self, person: Member, body: Json) -> View:
        view = self._workspace.view(str(body.get("view_id")))
        if view is None or view.user != person.id:
            raise PersonRefused("no_such_view", f"{person.name} has no such dialog open.", 404)
        if view is self._workspace.home(person.id):
            return view
        if view is not self._workspace.stack(person.id)[-1]:
            raise PersonRefused("not_on_top", "Another dialog stands on top of this one.", 409)
        return view

    async def world(self, _: Request) -> Response:
        """Describe the workspace."""
        bot = self._world.bot
        return JSONResponse(
            {
                "team": {"id": self._world.team_id, "name": self._world.team_name},
                "people": [
                    {"id": p.id, "name": p.name, "title": p.title, "color": p.color, "is_guest": p.is_guest}
                    for p in self._world.people
                ],
                "channels": [described(channel) for channel in self._world.channels],
                "commands": [
                    {"command": c.command, "description": c.description, "usage_hint": c.usage_hint}
                    for c in self._commands
                ],
                "bot": {"id": bot.bot_id, "user_id": bot.user_id, "name": bot.name},
            }
        )

    async def state(self, request: Request) -> Response:
        """Show all that a person sees now."""
        try:
            person = self._person(request.query_params.get("as"))
        except PersonRefused as refusal:
            return _refusal(refusal)
        channels = [described(c) for c in self._workspace.channels_of(person.id)]
        views = [shown_view(view) for view in self._workspace.stack(person.id)]
        home = self._workspace.home(person.id)
        return JSONResponse(
            {
                "channels": channels,
                "messages": self._workspace.messages_for(person.id),
                "views": views,
                "home": shown_home(home) if home else None,
            }
        )

    async def events(self, socket: WebSocket) -> None:
        """Push what changes for a person until their page goes away."""
        user_id = socket.query_params.get("as", "")
        if self._world.person(user_id) is None:
            await socket.close(code=1008)
            return
        await socket.accept()
        waiting: asyncio.Queue[Json] = asyncio.Queue()

        def note(event: Json, audience: Collection[str]) -> None:
            if user_id in audience:
                waiting.put_nowait(event)

        stop = self._workspace.listen(note)
        sender = asyncio.create_task(_send_all(socket, waiting))
        try:
            while True:
                await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            stop()
            sender.cancel()

    async def post(self, person: Member, body: Json) -> Json:
        """Say something or run a command."""
        channel = self._channel(person, body.get("channel"))
        text = body.get("text")
        if not isinstance(text, str):
            raise PersonRefused("bad_request", "text must be a string.")
        await self._interactions.post(person, channel, text)
        return {"ok": True}

    async def act(self, person: Member, body: Json) -> Json:
        """Press a button or choose from a menu."""
        if body.get("view_id"):
            await self._interactions.act_in_view(person, self._view(person, body), body)
        else:
            await self._interactions.act_on_message(person, self._message(person, body), body)
        return {"ok": True}

    async def submit(self, person: Member, body: Json) -> Json:
        """Submit a dialog."""
        errors = await self._interactions.submit(person, self._view(person, body), body)
        return {"ok": False, "errors": errors} if errors else {"ok": True}

    async def home(self, person: Member, body: Json) -> Json:
        """Open the app's Home tab, or the tab of its messages."""
        await self._home.open(person, str(body.get("tab") or "home"))
        return {"ok": True}

    async def close(self, person: Member, body: Json) -> Json:
        """Close a dialog."""
        await self._interactions.close(person, self._view(person, body))
        return {"ok": True}


async def _send_all(socket: WebSocket, waiting: asyncio.Queue[Json]) -> None:
    try:
        while True:
            await socket.send_text(json.dumps(await waiting.get()))
    except (WebSocketDisconnect, RuntimeError):
        return  # the page went away; its receiving side ends the rest


async def _json_body(request: Request) -> Json:
    # A form on another site can post text, but not JSON without asking first.
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise PersonRefused("bad_request", "The body must be application/json.", 415)
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise PersonRefused("bad_request", "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise PersonRefused("bad_request", "The body must be an object.")
    return body


def _refusal(refusal: PersonRefused) -> Response:
    body = {"ok": False, "error": refusal.error, "message": refusal.message}
    return JSONResponse(body, refusal.status)


def is_foreign(connection: HTTPConnection, port: int) -> bool:
    """Tell whether a request comes from a web page of another site, or by another host name."""
    own = {f"127.0.0.1:{port}", f"localhost:{port}"}
    origin = connection.headers.get("origin")
    if connection.headers.get("host") not in own:
        return True  # a name that somebody points at this machine makes a page look like ours
    return origin is not None and origin not in {f"http://{host}" for host in own}
