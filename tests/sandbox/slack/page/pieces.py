"""Block Kit pieces that the page's tests post, and where to look for what became of them."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page, Route

Json = dict[str, Any]


def plain(text: str) -> Json:
    """Make a plain_text object."""
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> Json:
    """Make a mrkdwn object."""
    return {"type": "mrkdwn", "text": text}


def section(text: str, **more: Any) -> Json:
    """Make a section of mrkdwn."""
    return {"type": "section", "text": mrkdwn(text), **more}


def actions(*elements: Json, block_id: str = "actions") -> Json:
    """Make an actions block."""
    return {"type": "actions", "block_id": block_id, "elements": list(elements)}


def button(text: str, **more: Any) -> Json:
    """Make a button; its action_id is its text in small letters."""
    return {"type": "button", "text": plain(text), "action_id": text.lower(), "value": "secret", **more}


def option(text: str, **more: Any) -> Json:
    """Make an option; its value is its text in small letters."""
    return {"text": plain(text), "value": text.lower(), **more}


def static_select(*texts: str, placeholder: str = "Pick a tenant") -> Json:
    """Make a select of one."""
    return {
        "type": "static_select",
        "action_id": "one",
        "placeholder": plain(placeholder),
        "options": [option(text) for text in texts],
    }


def multi_select(*texts: str) -> Json:
    """Make a select of many."""
    return {
        "type": "multi_static_select",
        "action_id": "many",
        "placeholder": plain("Pick sessions"),
        "options": [option(text) for text in texts],
    }


def raw(*texts: str) -> list[Json]:
    """Make a table's row."""
    return [{"type": "raw_text", "text": text} for text in texts]


def rich(*elements: Json) -> Json:
    """Make a rich_text block."""
    return {"type": "rich_text", "elements": list(elements)}


def text_input(label: str, block_id: str, *, optional: bool = False, **more: Any) -> Json:
    """Make an input block with a text field."""
    element = {"type": "plain_text_input", "action_id": "text", **more}
    return {
        "type": "input",
        "block_id": block_id,
        "label": plain(label),
        "optional": optional,
        "element": element,
    }


def modal(title: str, *blocks: Json, submit: str | None = None, **more: Any) -> Json:
    """Make a view."""
    view = {"type": "modal", "title": plain(title), "blocks": list(blocks), **more}
    return view | ({"submit": plain(submit)} if submit else {})


def article(page: Page, text: str) -> Locator:
    """Find the message in which this text stands."""
    return page.get_by_role("article").filter(has_text=text)


def show_instead(page: Page, *blocks: Json) -> None:
    """Reload with one message of these blocks, such as the sandbox itself refuses."""
    message = {
        "key": "1",
        "ts": "1",
        "channel": "C01INC",
        "user": "U0SESSIONBOT",
        "name": "session-bot",
        "is_bot": True,
        "text": "",
        "blocks": list(blocks),
        "ephemeral": False,
        "edited": False,
        "deleted": False,
        "thread_ts": None,
        "time": 1_700_000_000.0,
    }
    _reload_with(page, {"messages": {"C01INC": [message]}})


def show_modal_instead(page: Page, view: Json) -> None:
    """Reload with an open modal, such as the sandbox itself refuses."""
    _reload_with(page, {"views": [{"id": "V1", "submit": None, "close": None, **view}]})


def _reload_with(page: Page, part: Json) -> None:
    def answer(route: Route) -> None:
        route.fulfill(json=json.loads(route.fetch().text()) | part)

    page.route("**/page/state*", answer)
    page.reload()
