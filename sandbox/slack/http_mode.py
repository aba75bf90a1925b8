"""HTTP mode: payloads POSTed to the app's request URL, form-encoded and signed as Slack does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from urllib.parse import urlencode

from sandbox.slack.delivery import COMMAND, EVENT, NotAcknowledged
from sandbox.slack.faults import Faults
from sandbox.slack.refusals import Json

# Slack's own servers use no proxy of this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HttpMode:
    """Delivers to one request URL. Commands and presses are not retried over HTTP, as in Slack."""

    def __init__(self, request_url: str, signing_secret: str, faults: Faults) -> None:
        self._request_url = request_url
        self._signing_secret = signing_secret
        self._faults = faults

    async def deliver(self, kind: str, payload: Json) -> Json:
        """POST one payload and return what the answer's body holds."""
        if kind == EVENT:
            request = self._signed(json.dumps(payload).encode(), "application/json")
        else:
            fields = payload if kind == COMMAND else {"payload": json.dumps(payload)}
            request = self._signed(urlencode(fields).encode(), "application/x-www-form-urlencoded")
        sent = [asyncio.create_task(asyncio.to_thread(self._send, request))]
        if self._faults.deliver_twice:
            sent.append(asyncio.create_task(asyncio.to_thread(self._send, self._copy(request))))
        try:
            answers = await asyncio.wait_for(asyncio.gather(*sent), self._faults.ack_within)
        except TimeoutError:
            raise NotAcknowledged from None
        if self._faults.loses_ack():
            raise NotAcknowledged
        return _message(*answers[0])

    def _signed(self, body: bytes, content_type: str) -> urllib.request.Request:
        timestamp = str(int(time.time()))
        base = b"v0:" + timestamp.encode() + b":" + body
        digest = hmac.new(self._signing_secret.encode(), base, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": content_type,
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": f"v0={digest}",
        }
        return urllib.request.Request(self._request_url, body, headers, method="POST")  # noqa: S310 - ours

    def _copy(self, request: urllib.request.Request) -> urllib.request.Request:
        url = self._faults.copies_to or self._request_url
        return urllib.request.Request(url, request.data, request.headers, method="POST")  # noqa: S310 - ours

    def _send(self, request: urllib.request.Request) -> tuple[str, str]:
        """Return content type and body of the app's answer; runs in a thread."""
        try:
            with _OPENER.open(request, timeout=self._faults.ack_within) as response:
                return response.headers.get_content_type(), response.read().decode()
        except urllib.error.HTTPError as error:
            error.close()
            raise NotAcknowledged("dispatch_failed") from error
        except TimeoutError as error:
            raise NotAcknowledged from error
        except OSError as error:
            reason = getattr(error, "reason", None)
            code = "operation_timeout" if isinstance(reason, TimeoutError) else "dispatch_failed"
            raise NotAcknowledged(code) from error


def _message(content_type: str, body: str) -> Json:
    if not body:
        return {}
    if content_type != "application/json":
        return {"text": body}
    answer = json.loads(body)
    return answer if isinstance(answer, dict) else {}
