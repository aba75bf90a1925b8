"""A file for one person alone: whole, in his own direct message, and no error where Slack refuses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest
from slack_sdk import WebClient

from bot.slack.replies import Reply

Calls = list[tuple[str, dict[str, str]]]


class Files(ThreadingHTTPServer):
    """Slack's three steps of an upload (SLACK.md 2.3) and the opening of a direct message."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: Calls = []
        self.uploaded = b""
        self.refused = ""  # the method that lacks its scope

    def answer(self, method: str, body: bytes) -> dict[str, Any]:
        if method == "upload":
            self.uploaded = body
            return {}
        self.calls.append((method, dict(parse_qsl(body.decode()))))
        if method == self.refused:
            return {"ok": False, "error": "missing_scope"}
        upload = f"http://127.0.0.1:{self.server_port}/upload"
        return {"ok": True, "channel": {"id": "D07"}, "upload_url": upload, "file_id": "F1", "files": [{"id": "F1"}]}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Files)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps(self.server.answer(self.path.rpartition("/")[2], body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # so in the base class
        """Say nothing."""


@pytest.fixture
def slack() -> Iterator[Files]:
    with Files() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def reply(slack: Files) -> Reply:
    client = WebClient(token="xoxb-1", base_url=f"http://127.0.0.1:{slack.server_port}/api/")
    return Reply(client, "", "C01INC", "U01ALICE")


def test_the_whole_text_goes_to_the_presser_and_not_to_the_channel(slack: Files) -> None:
    text = "SELECT '选 & <x>'\n" * 10_000
    assert reply(slack).send_file("session-7.sql", "SQL of 7", text)
    assert slack.uploaded == text.encode()
    calls = dict(slack.calls)
    assert calls["conversations.open"]["users"] == "U01ALICE"
    assert calls["files.getUploadURLExternal"]["filename"] == "session-7.sql"
    assert calls["files.getUploadURLExternal"]["snippet_type"] == "sql"
    assert calls["files.completeUploadExternal"]["channel_id"] == "D07"
    assert "C01INC" not in str(slack.calls)


@pytest.mark.parametrize("method", ["conversations.open", "files.getUploadURLExternal", "files.completeUploadExternal"])
def test_a_scope_that_is_missing_is_no_error_but_an_answer(slack: Files, method: str) -> None:
    slack.refused = method
    assert not reply(slack).send_file("session-7.sql", "SQL of 7", "SELECT 1")


def test_a_slack_that_cannot_be_reached_is_no_error_either(slack: Files) -> None:
    slack.server_close()
    assert not reply(slack).send_file("session-7.sql", "SQL of 7", "SELECT 1")
