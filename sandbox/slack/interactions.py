"""What a person does, sent to the app, and what the app's acknowledgement does to what they see."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.slack.calls import Calls
from sandbox.slack.delivery import COMMAND, INTERACTIVE, Delivery, NotAcknowledged
from sandbox.slack.elements import action_of, find_element, missing_inputs, state_of
from sandbox.slack.faults import Faults
from sandbox.slack.payloads import Payloads
from sandbox.slack.refusals import Json, PersonRefused, Refused
from sandbox.slack.replies import Replies
from sandbox.slack.rules import check_view
from sandbox.slack.tickets import Tickets
from sandbox.slack.workspace import Message, View, Workspace
from sandbox.slack.world import Channel, Command, Member


class Interactions:
    """Everything that the people of the workspace can do."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        tickets: Tickets,
        payloads: Payloads,
        replies: Replies,
        delivery: Delivery,
        commands: tuple[Command, ...],
        faults: Faults,
        calls: Calls,
        clock: Callable[[], float],
    ) -> None:
        self._workspace = workspace
        self._tickets = tickets
        self._payloads = payloads
        self._replies = replies
        self._delivery = delivery
        self._commands = {command.command for command in commands}
        self._faults = faults
        self._calls = calls
        self._clock = clock

    @property
    def _bare(self) -> bool:
        return self._faults.omit_optional_fields

    async def post(self, person: Member, channel: Channel, text: str) -> None:
        """Say something in a channel, or run a slash command."""
        if not text.strip():
            raise PersonRefused("no_text", "An empty message is not sent.")
        if not text.startswith("/"):
            escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            self._workspace.post(channel.id, person.id, escaped)
            return
        command = text.split(None, 1)[0]
        if command not in self._commands or not self._workspace.world.offers_commands(person, channel):
            self._whisper(person, channel, f"`{command}` is not a valid command")
            return
        await self._command(person, channel, command, text)

    def _whisper(self, person: Member, channel: Channel, text: str) -> None:
        self._workspace.post(channel.id, "USLACKBOT", text, only_for=person.id)

    async def _command(self, person: Member, channel: Channel, command: str, typed: str) -> None:
        path = self._tickets.response_url("commands", person.id, channel.id, typed=typed)
        trigger_id = self._tickets.trigger(person.id)
        payload = self._payloads.command(person, channel, typed, trigger_id, path, bare=self._bare)
        try:
            ack = await self._delivery.deliver(COMMAND, payload)
            if ack:
                self._replies.answer_command(path, ack)
                self._calls.record("ack", ack, 200, "")
        except NotAcknowledged as failure:
            self._whisper(person, channel, f'{command} failed with the error "{failure.error}"')
        except Refused as refusal:
            self._calls.record("ack", ack, 200, refusal.answer())
            self._whisper(person, channel, f'{command} failed with the error "{refusal.error}"')

    async def act_on_message(self, person: Member, message: Message, given: Json) -> None:
        """Press or choose something on a message; raises NotAcknowledged."""
        block_id, action_id = str(given.get("block_id")), str(given.get("action_id"))
        element = find_element(message.blocks, block_id, action_id)
        action = action_of(block_id, element, given, self._action_ts())
        state = state_of(message.blocks, _with_choice(_state(given), block_id, action))
        path = self._tickets.response_url("actions", person.id, message.channel, message.key)
        trigger_id = self._tickets.trigger(person.id)
        payload = self._payloads.press_on_message(
            person, message, action, state, trigger_id=trigger_id, response_path=path, bare=self._bare
        )
        await self._delivery.deliver(INTERACTIVE, payload)

    async def act_in_view(self, person: Member, view: View, given: Json) -> None:
        """Press or choose something inside a modal; raises NotAcknowledged."""
        block_id, action_id = str(given.get("block_id")), str(given.get("action_id"))
        element = find_element(view.body["blocks"], block_id, action_id)
        action = action_of(block_id, element, given, self._action_ts())
        state = state_of(view.body["blocks"], _with_choice(_state(given), block_id, action))
        trigger_id = self._tickets.trigger(person.id, view.id)
        payload = self._payloads.press_in_view(person, view, action, state, trigger_id, bare=self._bare)
        await self._delivery.deliver(INTERACTIVE, payload)

    async def submit(self, person: Member, view: View, given: Json) -> dict[str, str]:
        """Submit a modal; returns the errors to show by block id. Raises NotAcknowledged."""
        if "submit" not in view.body:
            raise PersonRefused("no_submit", "This dialog has nothing to submit.")
        state = state_of(view.body["blocks"], _state(given))
        errors = missing_inputs(view.body["blocks"], state)
        if errors:
            return errors
        trigger_id = self._tickets.trigger(person.id, view.id)
        payload = self._payloads.submission(person, view, state, trigger_id, bare=self._bare)
        ack = await self._delivery.deliver(INTERACTIVE, payload)
        try:
            errors = self._respond_to_submission(view, ack)
        except Refused as refusal:
            self._calls.record("ack", ack, 200, refusal.answer())
            raise PersonRefused("trouble", "We had some trouble connecting. Try again?", 502) from refusal
        if ack:
            self._calls.record("ack", ack, 200, "")
        return errors

    def _respond_to_submission(self, view: View, ack: Json) -> dict[str, str]:
        action = ack.get("response_action")
        if not ack:
            if self._workspace.view(view.id):
                self._workspace.close_view(view)
        elif action == "clear":
            self._workspace.clear_views(view.user)
        elif action == "errors":
            return _input_errors(view, ack.get("errors"))
        elif action in ("update", "push"):
            check_view(ack.get("view"), self._faults.refuse_blocks)
            if action == "push":
                self._workspace.open_view(view.user, ack["view"], onto=view)
            else:
                self._workspace.update_view(view, ack["view"])
        else:
            raise Refused("invalid_response_action")
        return {}

    async def close(self, person: Member, view: View) -> None:
        """Close the top modal, or with `clear_on_close` all; the app hears of it only if it asked."""
        cleared = bool(view.body.get("clear_on_close", False))
        if cleared:
            self._workspace.clear_views(person.id)
        else:
            self._workspace.close_view(view)
        if view.body.get("notify_on_close", False):
            await self._delivery.deliver(
                INTERACTIVE, self._payloads.closed(person, view, cleared=cleared, bare=self._bare)
            )

    def _action_ts(self) -> str:
        return f"{self._clock():.6f}"


def _state(given: Json) -> Json:
    state = given.get("state") or {}
    if not isinstance(state, dict) or not all(isinstance(block, dict) for block in state.values()):
        raise PersonRefused("bad_request", "state must be an object of objects.")
    return state


def _with_choice(state: Json, block_id: str, action: Json) -> Json:
    """Let the choice just made stand in the state too, as it does in Slack."""
    held = {key: action[key] for key in ("selected_option", "selected_options", "value") if key in action}
    if action["type"] in ("button", "overflow"):
        return state
    return {**state, block_id: {**state.get(block_id, {}), action["action_id"]: held}}


def _input_errors(view: View, errors: object) -> dict[str, str]:
    """Check a submission's errors: each must name an input block of the modal."""
    inputs = {block["block_id"] for block in view.body["blocks"] if block["type"] == "input"}
    if not isinstance(errors, dict) or not errors or not set(errors) <= inputs:
        raise Refused("invalid_response_action_errors")
    return {block_id: str(text) for block_id, text in errors.items()}
