"""Direct messages with the bot, and files as `files_upload_v2` of the SDK sends them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sandbox.slack.methods import required
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.web_api import Method
from sandbox.slack.workspace import Workspace

LONGEST = 100_000_000  # bytes; Slack's own limit is larger, and none of the bot's business


@dataclass(slots=True)
class Upload:
    """A file on its way: announced, then uploaded, then completed once."""

    id: str
    name: str
    length: int
    content: bytes | None = None


class FileMethods:
    """conversations.open, files.getUploadURLExternal and files.completeUploadExternal, and where bytes are sent."""

    def __init__(self, workspace: Workspace, base_url: str) -> None:
        self._workspace = workspace
        self._base_url = base_url
        self._uploads: dict[str, Upload] = {}

    def table(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "conversations.open": Method(self.open, scope="im:write"),
            "files.getUploadURLExternal": Method(self.announce, scope="files:write"),
            "files.completeUploadExternal": Method(self.complete, scope="files:write"),
        }

    def open(self, arguments: Json) -> Json:
        """Open the bot's direct message with one person."""
        (user_id,) = required(arguments, "users")
        if self._workspace.world.person(user_id) is None:
            raise Refused("user_not_found")
        return {"channel": {"id": self._workspace.open_direct(user_id).id}}

    def announce(self, arguments: Json) -> Json:
        """Hand out where to send the bytes of a file, once."""
        (name,) = required(arguments, "filename")
        length = str(arguments.get("length", ""))
        if not length.isdecimal() or not 0 < int(length) <= LONGEST:
            raise Refused("invalid_arguments", ["length must be a positive number of bytes"])
        upload = Upload("F" + secrets.token_hex(5).upper(), name, int(length))
        self._uploads[upload.id] = upload
        return {"upload_url": f"{self._base_url}/upload/{upload.id}", "file_id": upload.id}

    async def receive(self, request: Request) -> Response:
        """Take the bytes of an announced file."""
        upload = self._uploads.get(request.path_params["file"])
        body = await request.body()
        if upload is None or upload.content is not None or len(body) != upload.length:
            return PlainTextResponse("failed", 400)
        upload.content = body
        return PlainTextResponse(f"OK - {len(body)}")

    def complete(self, arguments: Json) -> Json:
        """Share uploaded files in one of the bot's conversations; each once."""
        channel = self._workspace.channel(str(arguments.get("channel_id")))
        if channel is None or (channel.is_private and not channel.has_bot):
            raise Refused("channel_not_found")
        if not channel.has_bot:
            raise Refused("not_in_channel")
        given = arguments.get("files")
        files = json.loads(given) if isinstance(given, str) else given
        if not isinstance(files, list) or not files:
            raise Refused("invalid_arguments", ["files must name at least one file"])
        shared = [self._shared(one) for one in files]
        comment = str(arguments.get("initial_comment") or "")
        self._workspace.post(channel.id, self._workspace.world.bot.user_id, comment, files=shared)
        return {"files": [{"id": one["id"], "title": one["title"]} for one in shared]}

    def _shared(self, given: Json) -> Json:
        upload = self._uploads.get(str(given.get("id")))
        if upload is None or upload.content is None:
            raise Refused("file_not_found")
        del self._uploads[upload.id]
        text = upload.content.decode("utf-8", "replace")
        return {"id": upload.id, "name": upload.name, "title": given.get("title") or upload.name, "text": text}
