"""The judge of payloads: the strict sandbox's own rules, and that no text became more than a text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from bot.slack.delivery.message import Message
from sandbox.slack.chat import UPDATE_TEXT_LIMIT
from sandbox.slack.refusals import Refused
from sandbox.slack.rules import check_home, check_message, check_view
from tests.support.hostile import SECRET

Json = dict[str, Any]

# Who and where, as Slack's own payloads name them; no hostile text has these ids.
ASKER, DECIDER, GROUP, CHANNEL = "U0ASKER", "U0DECIDER", "S0GROUP", "C0CHANNEL"

_OURS = re.compile(
    rf"<@(?:{ASKER}|{DECIDER})>|<!subteam\^{GROUP}>|<#{CHANNEL}>|"
    r"<!date\^\d+\^[^|<>]*\|\d\d:\d\d:\d\d UTC>"
)
_BOLD = re.compile(r"\*(?:(?:see|close|approve closing|, )+|\x00|Stop|Break-glass|To be reviewed)\*")
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PLAIN = ("plain_text", "raw_text")


def refusals_of(message: Message) -> Iterator[str]:
    """Yield why Slack would refuse a message, its fallback or its text alone."""
    for make in (message.payload, message.fallback_payload, lambda: []):
        try:
            check_message({"text": message.text, "blocks": make()})
        except Refused as refusal:
            yield f"{refusal.error} {refusal.messages}"
        except Exception as error:  # noqa: BLE001  # whatever the builders say, no payload is made
            yield repr(error)
    if len(message.text) > UPDATE_TEXT_LIMIT:
        yield f"a text of {len(message.text)} characters cannot be rewritten"


def refusals_of_view(view: Json) -> Iterator[str]:
    """Yield why Slack would refuse a modal or a Home tab."""
    try:
        (check_home if view["type"] == "home" else check_view)(view)
    except Refused as refusal:
        yield f"{refusal.error} {refusal.messages}"


def markup_in(shown: object, text: str = "") -> Iterator[str]:
    """Yield what is more than text in blocks or a view, and in the text of a message.

    The text is sent with nothing looked for in it: only what Slack's own markup is made of, and addresses, count.
    """
    yield from _invisible(text, "")
    if found := re.findall(r"[<>&]|://", re.sub(r"&(?:amp|lt|gt);", " ", _OURS.sub("\x00", text))):
        yield f"{found} in text {text!r}"
    for kind, words in _walked(shown):
        if kind == "mrkdwn":
            yield from _mrkdwn(words)
        elif kind in _PLAIN or kind == "text":
            yield from _invisible(words, "\n\t" if kind == "text" else "")
        else:
            yield f"data as {kind}: {words!r}"


def secrets_in(*shown: object) -> Iterator[str]:
    """Yield each password that can be read."""
    for one in shown:
        written = json.dumps(one, ensure_ascii=False)
        if SECRET in written:
            at = written.index(SECRET)
            yield written[max(0, at - 120) : at + 40]


def _mrkdwn(text: str) -> Iterator[str]:
    yield from _invisible(text, "")
    left = _OURS.sub("\x00", text)
    left = _BOLD.sub("", left)
    left = re.sub(r"&(?:amp|lt|gt);", " ", left)
    if found := re.findall(r"[<>&*_~`@]|://|:[a-zA-Z0-9_+'-]+:", left.replace("\x00", "")):
        yield f"{found} in mrkdwn {text!r}"


def _invisible(text: str, but: str) -> Iterator[str]:
    if text.isascii() and text.isprintable():
        return
    found = {sign for sign in text if unicodedata.category(sign) in _FORBIDDEN and sign not in but}
    if found:
        yield f"{found} shown raw in {text[:300]!r}"


def _walked(value: object) -> Iterator[tuple[str, str]]:
    """Yield each text with its kind, and each element that is none."""
    if isinstance(value, list):
        for one in value:
            yield from _walked(one)
    elif isinstance(value, dict):
        if value.get("type") == "plain_text" and value.get("emoji") is not False:
            yield "plain_text with emoji", str(value.get("text"))
        if isinstance(value.get("text"), str):
            yield str(value.get("type")), value["text"]
        if value.get("type") == "user" and value.get("user_id") in (ASKER, DECIDER):
            return
        if value.get("type") == "channel" and value.get("channel_id") == CHANNEL:
            return
        if value.get("type") in ("user", "usergroup", "channel", "link", "broadcast", "emoji", "image", "markdown"):
            yield str(value["type"]), ""
        for key, one in value.items():
            if key in ("label", "title", "name", "placeholder", "caption") and isinstance(one, str):
                yield "plain_text", one  # of a chart
            yield from _walked(one)
