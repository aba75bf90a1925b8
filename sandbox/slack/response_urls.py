"""The door of response URLs: no Web API, its answers are plain text."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sandbox.slack.calls import Calls
from sandbox.slack.faults import Faults
from sandbox.slack.limits import RateLimits
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.replies import Replies
from sandbox.slack.tickets import Tickets

NOT_FOUND = ("used_url", "expired_url", "no_service", "message_not_found", "channel_not_found")


class ResponseUrls:
    """Answers `POST /commands/...` and `POST /actions/...`."""

    def __init__(self, replies: Replies, tickets: Tickets, limits: RateLimits, faults: Faults, calls: Calls) -> None:
        self._replies = replies
        self._tickets = tickets
        self._limits = limits
        self._faults = faults
        self._calls = calls

    async def handle(self, request: Request) -> Response:
        """Answer one use of a response URL and note it."""
        headers: dict[str, str] = {}
        body: Json = {}
        try:
            body = await _body(request)
            await asyncio.sleep(self._faults.takes_delay("response_url"))
            answer, status = self._answer(request.url.path, body, headers)
        except Refused as refusal:
            answer, status = refusal.error, 404 if refusal.error in NOT_FOUND else 400
        self._calls.record("response_url", body, status, answer)
        return PlainTextResponse(answer, status, headers)

    def _answer(self, path: str, body: Json, headers: dict[str, str]) -> tuple[str, int]:
        failure = self._faults.takes_failure("response_url")
        if failure is not None:
            if failure.carried_out:
                self._replies.respond(path, body)
            if failure.retry_after is not None:
                headers["Retry-After"] = str(failure.retry_after)
            # Whatever has gone wrong with a status of 200 is told in JSON there.
            answer = json.dumps({"ok": False, "error": failure.error}) if failure.status == 200 else failure.error
            return answer, failure.status
        channel = self._tickets.channel_of(path)
        wait = self._limits.retry_after("response_url", {"channel": channel})
        if wait is not None:
            headers["Retry-After"] = str(wait)
            return "ratelimited", 429
        if channel in self._faults.closed_channels:
            raise Refused("channel_not_found")
        self._replies.respond(path, body)
        return "ok", 200


async def _body(request: Request) -> Json:
    raw = await request.body()
    if not request.headers.get("content-type", "").startswith("application/json"):
        raw = parse_qs(raw.decode()).get("payload", [""])[0].encode()
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refused("invalid_payload") from None
    if not isinstance(body, dict):
        raise Refused("invalid_payload")
    return body
