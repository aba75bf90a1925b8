"""The app's Home tab: views.publish, and the event that tells the app that somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.slack.delivery import EVENT, Delivery, NotAcknowledged
from sandbox.slack.faults import Faults
from sandbox.slack.methods import required
from sandbox.slack.payloads import Payloads
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.rules import check_home
from sandbox.slack.web_api import Method
from sandbox.slack.workspace import Workspace
from sandbox.slack.world import Member


class Home:
    """The Home tab of each person."""

    def __init__(
        self, workspace: Workspace, payloads: Payloads, delivery: Delivery, faults: Faults, clock: Callable[[], float]
    ) -> None:
        self._workspace = workspace
        self._payloads = payloads
        self._delivery = delivery
        self._faults = faults
        self._clock = clock

    def table(self) -> dict[str, Method]:
        """Return the methods by name; publishing needs no scope."""
        return {"views.publish": Method(self.publish)}

    def publish(self, arguments: Json) -> Json:
        """Show a view on a person's Home tab; with `hash` only if nobody else changed it since."""
        (user_id,) = required(arguments, "user_id")
        if self._workspace.world.person(user_id) is None:
            raise Refused("user_not_found")
        view = arguments.get("view")
        check_home(view, self._faults.refuse_blocks)
        known = self._workspace.home(user_id)
        if arguments.get("hash") and (known is None or arguments["hash"] != known.hash):
            raise Refused("hash_conflict")
        shown = dict(view or {})
        shown["blocks"] = [block for block in shown["blocks"] if block["type"] not in self._faults.home_drops]
        return {"view": self._payloads.view(self._workspace.publish_home(user_id, shown), {})}

    async def open(self, person: Member, tab: str = "home") -> None:
        """Tell the app that a person opened one of its tabs. An event that is not acknowledged is nobody's trouble."""
        payload = self._payloads.home_opened(person, tab, self._workspace.home(person.id), self._clock())
        try:
            await self._delivery.deliver(EVENT, payload)
        except NotAcknowledged:
            return
