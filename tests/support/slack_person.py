"""A person in the Slack sandbox, for tests: types, reads, presses and fills in, over the page's own API.

    alice = Person(sandbox, "U01ALICE")                    # in #incident unless told otherwise
    alice.types("/sessions tenant=sys")                    # returns once Slack has its acknowledgement
    answer = alice.wait_for_message("3 sessions")          # a text to find, or a function of the message
    alice.choose(answer, "Pick sessions", ["3221487617"])  # a menu by action_id, placeholder or label
    alice.press(answer, "Close Session")                   # a button by its text; sends the choices along
    card = alice.wait_for_message("expires")
    alice.press(card, "Close Session")
    alice.wait_for_change(card, "closed")                  # the same message, rewritten in place

    modal = alice.wait_for_modal("SQL")                    # the modal on top
    alice.fill_in(modal, "Reason", "too slow")             # an input by label, action_id or placeholder
    alice.submit()                                         # returns the errors shown, by block id
    alice.closes_modal()

    text_of(message)       what a message, a modal or a list of blocks says, tables as "a | b | c" lines
    table_of(message)      the rows of its table as lists of texts
    buttons_of(message)    the texts of its buttons

What Slack would not let a person do, and what the app did not acknowledge, raises NotPossible with Slack's
code. Nothing waits for a fixed time: `wait_for...` look again after each change in the sandbox.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

from sandbox.slack.server import SlackSandbox
from tests.support.patience import PATIENCE
from tests.support.slack_text import (
    Json,
    buttons_of,
    element_called,
    elements_of,
    options_in,
    options_of,
    table_of,
    text_of,
)

__all__ = ["NotPossible", "Person", "buttons_of", "options_of", "table_of", "text_of"]

Matching = str | Callable[[Json], object]

INCIDENT = "C01INC"

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NotPossible(AssertionError):  # noqa: N818 - reads as a sentence where it is raised
    """Slack refused what the person tried, or the app did not answer; `error` is the code."""

    def __init__(self, error: str, message: str = "") -> None:
        super().__init__(f"{error}: {message}" if message else error)
        self.error = error


class Person:
    """Somebody at the sandbox's page."""

    def __init__(self, sandbox: SlackSandbox, user_id: str, channel: str = INCIDENT) -> None:
        self.sandbox = sandbox
        self.id = user_id
        self.channel = channel
        self._choices: dict[str, Json] = {}
        """What is chosen in each message or modal, by its key or id, as Slack's client remembers it."""

    def types(self, text: str, channel: str | None = None) -> None:
        """Post a message or run a slash command; a command's time-out shows up as a message."""
        self._post("post", {"channel": channel or self.channel, "text": text})

    def state(self) -> Json:
        """Return everything this person sees now."""
        return self._request(f"page/state?as={self.id}")

    def messages(self, channel: str | None = None) -> list[Json]:
        """Return the messages this person sees in a channel, oldest first."""
        messages: list[Json] = self.state()["messages"].get(channel or self.channel, [])
        return messages

    def direct_messages(self) -> list[Json]:
        """Return what the bot has told this person directly, oldest first."""
        return self.state()["messages"].get(f"D{self.id[1:]}") or []

    def now(self, message: Json) -> Json | None:
        """Return a message as it stands now, None if it was deleted."""
        return next((m for m in self.messages(message["channel"]) if m["key"] == message["key"]), None)

    def wait_for_message(
        self,
        matching: Matching,
        channel: str | None = None,
        timeout: float = PATIENCE,
        *,
        after: Json | None = None,
    ) -> Json:
        """Return the newest message that matches, with `after` only one that came after that one."""
        since = after["time"] if after else 0.0

        def newest() -> Json | None:
            found = [m for m in self.messages(channel) if m["time"] > since and _matches(m, matching)]
            return found[-1] if found else None

        return self._wait(newest, matching, timeout, lambda: self.messages(channel))

    def wait_for_change(self, message: Json, matching: Matching, timeout: float = PATIENCE) -> Json:
        """Return the same message once it matches."""

        def changed() -> Json | None:
            now = self.now(message)
            return now if now is not None and _matches(now, matching) else None

        return self._wait(changed, matching, timeout, lambda: [now for now in [self.now(message)] if now])

    def wait_until_gone(self, message: Json, timeout: float = PATIENCE) -> None:
        """Return once the message is deleted."""
        self.sandbox.wait_for(lambda: self.now(message) is None, timeout, "the message's disappearance")

    def _wait(
        self,
        look: Callable[[], Json | None],
        matching: Matching,
        timeout: float,
        seen: Callable[[], list[Json]],
    ) -> Json:
        try:
            found = self.sandbox.wait_for(look, timeout)
        except TimeoutError:
            wanted = repr(matching) if isinstance(matching, str) else "the condition"
            texts = "\n---\n".join(text_of(each) for each in seen())
            raise AssertionError(f"{self.id} did not see {wanted} in {timeout:g} s, but:\n{texts}") from None
        assert found is not None
        return found

    def press(self, place: Json, button: str) -> None:
        """Press a button of a message or modal by its text (a confirm dialog counts as confirmed)."""
        for block_id, element in elements_of(place):
            if element["type"] == "button" and element["text"]["text"] == button:
                self._act(place, block_id, element, {})
                return
        raise AssertionError(f"no button {button!r}, only {buttons_of(place)} in:\n{text_of(place)}")

    def choose(self, place: Json, menu: str, options: list[str]) -> None:
        """Choose options by their texts in a menu, named by action_id, placeholder or label."""
        block_id, element = element_called(place, menu)
        known = {option["text"]["text"]: option for option in options_in(element)}
        missing = [text for text in options if text not in known]
        if missing:
            raise AssertionError(f"no option {missing} in {menu!r}, only {list(known)}")
        picked = [known[text] for text in options]
        many = element["type"] in ("multi_static_select", "checkboxes")
        held: Json = {"selected_options": picked} if many else {"selected_option": picked[0]}
        self._hold(place, block_id, element, held)
        if not _is_input(place, block_id):
            self._act(place, block_id, element, held)

    def fill_in(self, view: Json, field: str, text: str) -> None:
        """Write into a text field of a modal, named by action_id, placeholder or label."""
        block_id, element = element_called(view, field)
        self._hold(view, block_id, element, {"value": text})

    def _hold(self, place: Json, block_id: str, element: Json, held: Json) -> None:
        if element["type"] == "overflow":
            return
        state = self._choices.setdefault(_key(place), {})
        state.setdefault(block_id, {})[element["action_id"]] = {"type": element["type"], **held}

    def _act(self, place: Json, block_id: str, element: Json, given: Json) -> None:
        where = (
            {"channel": place["channel"], "message_key": place["key"]} if "key" in place else {"view_id": place["id"]}
        )
        what = {"block_id": block_id, "action_id": element["action_id"]}
        self._post("act", {**where, **what, **given, "state": self._choices.get(_key(place), {})})

    def opens_home(self, matching: Matching = "", timeout: float = PATIENCE) -> Json:
        """Open the app's Home tab and return it once it is published and matches."""
        self.looks_at_home()
        return self.wait_for_home(matching, timeout)

    def looks_at_home(self) -> None:
        """Open the app's Home tab."""
        self._post("home", {})

    def wait_for_home(self, matching: Matching = "", timeout: float = PATIENCE) -> Json:
        """Return the Home tab once it matches."""

        def shown() -> Json | None:
            view: Json | None = self.state()["home"]
            return view if view is not None and _matches(view, matching) else None

        return self._wait(shown, matching, timeout, lambda: [view for view in [self.state()["home"]] if view])

    def modals(self) -> list[Json]:
        """Return this person's open modals, the top one last."""
        views: list[Json] = self.state()["views"]
        return views

    def modal(self) -> Json | None:
        """Return the modal on top, None if there is none."""
        views = self.modals()
        return views[-1] if views else None

    def wait_for_modal(self, matching: Matching = "", timeout: float = PATIENCE) -> Json:
        """Return the top modal once it matches (its title is part of its text)."""

        def top() -> Json | None:
            view = self.modal()
            return view if view is not None and _matches(view, matching) else None

        return self._wait(top, matching, timeout, self.modals)

    def submit(self, state: Json | None = None) -> dict[str, str]:
        """Submit the top modal with what was filled in, and `state` on top; returns the errors shown."""
        view = self.modal()
        if view is None:
            raise AssertionError("no modal is open")
        held = {**self._choices.get(_key(view), {}), **(state or {})}
        try:
            self._post("submit", {"view_id": view["id"], "state": held})
        except _FieldErrors as refusal:
            return refusal.errors
        return {}

    def closes_modal(self) -> None:
        """Close the top modal."""
        view = self.modal()
        if view is None:
            raise AssertionError("no modal is open")
        self._post("close", {"view_id": view["id"]})

    def _post(self, what: str, body: Json) -> None:
        answer = self._request(f"page/{what}", {"as": self.id, **body})
        if answer.get("errors"):
            raise _FieldErrors(answer["errors"])
        if not answer["ok"]:
            raise NotPossible(answer["error"], answer.get("message", ""))

    def _request(self, path: str, body: Json | None = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.sandbox.page_url + path, data, headers)
        try:
            with _OPENER.open(request, timeout=PATIENCE) as response:
                answer: Json = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                answer = json.load(error)
        return answer


class _FieldErrors(Exception):  # noqa: N818 - same
    """The modal stayed open with these errors."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = errors


def _key(place: Json) -> str:
    return str(place.get("key") or place["id"])


def _matches(place: Json, matching: Matching) -> bool:
    if isinstance(matching, str):
        return matching in text_of(place)
    return bool(matching(place))


def _is_input(place: Json, block_id: str) -> bool:
    blocks = place.get("blocks") or []
    return any(b["block_id"] == block_id and b["type"] == "input" for b in blocks)
