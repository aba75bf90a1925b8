"""The Web API methods that open and change modals."""

from __future__ import annotations

from sandbox.slack.faults import Faults
from sandbox.slack.methods import required
from sandbox.slack.payloads import Payloads
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.rules import check_view
from sandbox.slack.tickets import Tickets
from sandbox.slack.web_api import Method
from sandbox.slack.workspace import View, Workspace


class ModalMethods:
    """views.open, views.push and views.update. None of them needs a scope."""

    def __init__(self, workspace: Workspace, tickets: Tickets, payloads: Payloads, faults: Faults) -> None:
        self._workspace = workspace
        self._tickets = tickets
        self._payloads = payloads
        self._faults = faults

    def table(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "views.open": Method(self.open),
            "views.push": Method(self.push),
            "views.update": Method(self.update),
        }

    def _checked(self, arguments: Json) -> Json:
        view = arguments.get("view")
        check_view(view, self._faults.refuse_blocks)
        return dict(view or {})

    def _answer(self, view: View) -> Json:
        return {"view": self._payloads.view(view, {})}

    def open(self, arguments: Json) -> Json:
        """Open a modal for the person who was given the trigger id."""
        (trigger_id,) = required(arguments, "trigger_id")
        body = self._checked(arguments)
        trigger = self._tickets.redeem(trigger_id)
        return self._answer(self._workspace.open_view(trigger.user, body))

    def push(self, arguments: Json) -> Json:
        """Put a modal on top of the one in which the trigger id arose."""
        (trigger_id,) = required(arguments, "trigger_id")
        body = self._checked(arguments)
        trigger = self._tickets.redeem(trigger_id)
        below = self._workspace.view(trigger.view_id) if trigger.view_id else None
        if below is None:
            raise Refused("not_found")
        return self._answer(self._workspace.open_view(trigger.user, body, onto=below))

    def update(self, arguments: Json) -> Json:
        """Change an open modal; with `hash` only if nobody else changed it since."""
        view = self._view(arguments)
        body = self._checked(arguments)
        if arguments.get("hash") and arguments["hash"] != view.hash:
            raise Refused("hash_conflict")
        self._workspace.update_view(view, body)
        return self._answer(view)

    def _view(self, arguments: Json) -> View:
        if arguments.get("external_id"):
            view = self._workspace.view_by_external_id(str(arguments["external_id"]))
        else:
            (view_id,) = required(arguments, "view_id")
            view = self._workspace.view(view_id)
        if view is None:
            raise Refused("not_found")
        return view
