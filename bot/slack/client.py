"""Slack's Web API and response URLs, over connections that stay open."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

from slack_sdk import WebClient
from slack_sdk.web import SlackResponse

from bot.slack.connections import Answer, Connections
from bot.slack.delivery.retries import Tries, is_repeatable
from bot.slack.slack_errors import CALL_ERRORS, slack_error
from bot.slack.telemetry import NoTelemetry, Telemetry

_FORM, _JSON = "application/x-www-form-urlencoded", "application/json;charset=utf-8"
AGAIN = "again"  # in the `req_args` of what Slack said: whether it may have carried out the call before
_SHOWN = 100  # characters of an answer that is none of Slack's

# Where the response URLs of each of Slack's APIs are, to have connections there before the first command.
_RESPONSE_URLS = {"slack.com": "https://hooks.slack.com/", "slack-gov.com": "https://hooks.slack-gov.com/"}


class Client(WebClient):
    """Slack's client: its calls share connections, are tried again within bounds, and are told to ``telemetry``.

    The SDK has no place for a transport: its calls come here by ``api_call``, which every one of its methods uses.
    """

    def __init__(
        self,
        token: str,
        base_url: str = WebClient.BASE_URL,
        *,
        timeout: int = 10,
        telemetry: Telemetry | None = None,
    ) -> None:
        context = ssl.create_default_context()  # trusts what SSL_CERT_FILE and SSL_CERT_DIR name, if they do
        super().__init__(token, base_url, timeout, context)
        self.telemetry = telemetry or NoTelemetry()
        self.connections = Connections(context, timeout)
        self._keeps_ready = False

    def keep_ready(self) -> None:
        """Have connections open before somebody needs them, from now on."""
        self._keeps_ready = True
        self.connections.keep_ready(self.base_url)
        urls = _RESPONSE_URLS.get(urlsplit(self.base_url).netloc)
        if urls is not None:
            self.connections.keep_ready(urls)

    def close(self) -> None:
        """Let go of the connections."""
        self.connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def api_call(self, api_method: str, **arguments: Any) -> SlackResponse:
        """Call a method with `params` or `json`; see the SDK's.

        Raises ``SlackApiError`` for what Slack refuses, ``OSError`` where it does not answer: ``AnswerLostError``
        where it may have carried out the call all the same.
        """
        try:
            answer = self._call(api_method, arguments)
        except CALL_ERRORS as error:
            what = slack_error(error)
            self.telemetry.called(api_method, what.word, reached=what.reached)
            raise
        self.telemetry.called(api_method, "")
        return answer

    def respond(self, url: str, message: Mapping[str, Any], *, repeatable: bool) -> Answer:
        """Use a response URL and return what it answers. Raises as ``api_call`` does where it does not.

        ``repeatable`` is for messages that replace another one.
        """
        if self._keeps_ready:
            self.connections.keep_ready(url)  # it may be on a host that nobody has named
        body = json.dumps(message).encode()
        headers = {**self._agent, "Content-Type": _JSON}
        return _persistently(
            lambda: self.connections.post(url, headers, body, repeatable=repeatable), Tries(repeatable=repeatable)
        )

    def direct_message(self, person: str) -> str:
        """Return the channel of the direct messages with somebody. Raises as ``api_call`` does."""
        return str(self.conversations_open(users=person)["channel"]["id"])

    def upload(self, url: str, content: bytes) -> Answer:
        """Send the bytes of a file to where Slack wants them. Raises ``OSError``."""
        return self.connections.post(url, {**self._agent, "Content-Type": "application/octet-stream"}, content)

    @property
    def _agent(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.headers.items()}

    def _call(self, method: str, arguments: Mapping[str, Any]) -> SlackResponse:
        url = urljoin(self.base_url, method)
        form = _given(arguments.get("data")) | _given(arguments.get("params"))
        fields = _given(arguments.get("json"))
        token = form.pop("token", None) or fields.pop("token", None) or self.token
        kind, body = (_JSON, json.dumps(fields)) if fields else (_FORM, urlencode(_without_booleans(form)))
        headers = {**self._agent, "Content-Type": kind, "Authorization": f"Bearer {token}"}
        repeatable = is_repeatable(method)
        answer = _persistently(
            lambda: self.connections.post(url, headers, body.encode(), repeatable=repeatable),
            Tries(method, repeatable=repeatable),
            lambda answer: str(_said(answer).get("error") or ""),
        )
        said = SlackResponse(
            client=self,
            http_verb="POST",
            api_url=url,
            req_args={AGAIN: answer.again},
            data=_said(answer) or {"ok": False, "error": _unexpected(answer)},
            headers=dict(answer.headers),
            status_code=answer.status,
        )
        said.validate()  # type: ignore[no-untyped-call]  # so in slack_sdk
        return said


def _persistently(post: Callable[[], Answer], tries: Tries, word_of: Callable[[Answer], str] = lambda _: "") -> Answer:
    """Post, and again as long as that is of use; ``word_of`` reads the error that Slack's answer names."""
    again = False
    while True:
        try:
            answer = post()
        except OSError as error:
            if not tries.go_on(error):
                raise
        else:
            if not tries.go_on(answer, word_of(answer)):
                return replace(answer, again=answer.again or again)
        again = True


def _given(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (arguments or {}).items() if value is not None}


def _without_booleans(form: Mapping[str, Any]) -> dict[str, Any]:
    """Write truth as forms do."""
    return {name: int(value) if isinstance(value, bool) else value for name, value in form.items()}


def _said(answer: Answer) -> dict[str, Any]:
    """Read what Slack says; nothing where it is not Slack that answers, but a proxy or a page."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _unexpected(answer: Answer) -> str:
    """Say that no answer of Slack's came, in the SDK's words."""
    return f"Received a response in a non-JSON format: {' '.join(answer.text.split())[:_SHOWN]}"
