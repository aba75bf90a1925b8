"""The door of the Web API: arguments, tokens, scopes, rate limits and faults, before a method is run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sandbox.slack.calls import Calls
from sandbox.slack.faults import Failure, Faults
from sandbox.slack.limits import RateLimits
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.world import World

JSON_ARGUMENTS = ("blocks", "view", "attachments", "metadata")


@dataclass(frozen=True, slots=True)
class Method:
    """A Web API method: what runs, and what its token must be allowed; a scope may depend on arguments."""

    run: Callable[[Json], Json]
    scope: str | None = None
    app_token: bool = False


class WebApi:
    """Answers `POST /api/METHOD` as Slack does; what is not in `methods` is an unknown method."""

    def __init__(
        self, world: World, methods: dict[str, Method], limits: RateLimits, faults: Faults, calls: Calls
    ) -> None:
        self._world = world
        self._methods = methods
        self._limits = limits
        self._faults = faults
        self._calls = calls

    async def handle(self, request: Request) -> Response:
        """Answer one call and note it."""
        name = request.path_params["method"]
        arguments: Json = {}
        status, headers = 200, {"x-oauth-scopes": ",".join(self._world.scopes)}
        try:
            arguments = await read_arguments(request)
            token = _token(request, arguments)
            await asyncio.sleep(self._faults.takes_delay(name))
            failure = self._faults.takes_failure(name)
            if failure is not None:
                if failure.carried_out:
                    self._answer(name, token, arguments, headers)
                answer, status = failed(failure, headers), failure.status
            else:
                answer, status = self._answer(name, token, arguments, headers)
        except Refused as refusal:
            answer = refusal.answer()
        self._calls.record(name, arguments, status, answer)
        if status >= 500:  # not Slack's own words, but those of what stands before it
            return PlainTextResponse(f"<html><body>{status} {answer['error']}</body></html>", status, headers)
        return JSONResponse(answer, status, headers)

    def _answer(self, name: str, token: str | None, arguments: Json, headers: dict[str, str]) -> tuple[Json, int]:
        method = self._methods.get(name)
        if method is None or name in self._faults.unknown_methods:
            raise Refused("unknown_method", req_method=name)
        self._check_token(method, token)
        wait = self._limits.retry_after(name, arguments)
        if wait is not None:
            headers["Retry-After"] = str(wait)
            return {"ok": False, "error": "ratelimited"}, 429
        self._check_scope(method)
        return {"ok": True, **method.run(arguments)}, 200

    def _check_token(self, method: Method, token: str | None) -> None:
        if not token:
            raise Refused("not_authed")
        right, wrong = self._world.bot_token, self._world.app_token
        if method.app_token:
            right, wrong = wrong, right
        if token == wrong:
            raise Refused("not_allowed_token_type")
        if token != right:
            raise Refused("invalid_auth")

    def _check_scope(self, method: Method) -> None:
        if method.scope and method.scope not in self._world.scopes:
            raise missing_scope(method.scope, self._world)


def missing_scope(needed: str, world: World) -> Refused:
    """Build the refusal for a scope that the app was not granted."""
    return Refused("missing_scope", needed=needed, provided=",".join(world.scopes))


def failed(failure: Failure, headers: dict[str, str]) -> Json:
    """Build the answer of a failure that a test asked for."""
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    return {"ok": False, "error": failure.error}


async def read_arguments(request: Request) -> Json:
    """Read a call's arguments from the query, a form or a JSON body."""
    arguments: Json = dict(request.query_params)
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            sent = json.loads(body or b"{}")
        except ValueError:
            raise Refused("invalid_json") from None
        if not isinstance(sent, dict):
            raise Refused("json_not_object")
        arguments.update(sent)
    else:
        arguments.update(parse_qsl(body.decode(), keep_blank_values=True))
    for name in JSON_ARGUMENTS:
        if isinstance(arguments.get(name), str):
            arguments[name] = _parsed(name, arguments[name])
    return arguments


def _parsed(name: str, text: str) -> object:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise Refused("invalid_blocks" if name == "blocks" else "invalid_arguments") from None


def _token(request: Request, arguments: Json) -> str | None:
    """Take the token from the header, or from the arguments, where it must not be recorded."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    in_arguments = arguments.pop("token", None)
    return token if scheme.lower() == "bearer" else in_arguments
