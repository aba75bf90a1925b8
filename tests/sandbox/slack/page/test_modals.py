"""Modals in the page: opening, filling in, errors, updates and stacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from slack_sdk import WebClient

from sandbox.slack.faults import Faults
from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.page.conftest import StandIn
from tests.sandbox.slack.page.pieces import (
    actions,
    button,
    modal,
    multi_select,
    option,
    plain,
    rich,
    section,
    show_modal_instead,
    static_select,
    text_input,
)
from tests.support.slack_person import Person

Json = dict[str, Any]
Open = Callable[[Json], Json]
# It waits for a moment only: too short for somebody who looks now and then.
NOTE_WHEN_BUSY = """button => new MutationObserver(
    () => globalThis.wasBusy ||= button.getAttribute("aria-busy") === "true"
).observe(button, {attributes: true})"""


@pytest.fixture
def opened(page: Page, sandbox: SlackSandbox, client: WebClient, bot: StandIn) -> Open:
    """Open a modal for Alice, as the answer to a command of hers."""

    def open_it(view: Json) -> Json:
        Person(sandbox, "U01ALICE").types("/sessions")
        answer = client.views_open(trigger_id=bot.next()["trigger_id"], view=view)
        expect(page.get_by_role("dialog", name=view["title"]["text"])).to_be_visible()
        found: Json = answer["view"]
        return found

    return open_it


def test_a_modal_shows_its_blocks_and_closes_by_button_cross_or_escape(page: Page, opened: Open) -> None:
    statement = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "select 1"}]}
    warning = {"type": "alert", "level": "warning", "text": plain("Careful.")}
    view = modal("Session 17", warning, rich(statement), close=plain("Done"))
    dialog = page.get_by_role("dialog", name="Session 17")
    opened(view)
    expect(dialog).to_have_attribute("aria-modal", "true")
    expect(dialog.get_by_role("note")).to_have_text("Careful.")
    expect(dialog.locator("pre")).to_have_text("select 1")
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_have_count(0)
    opened(view)
    dialog.get_by_role("button", name="Dismiss").click()
    expect(dialog).to_have_count(0)
    opened(view)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_every_kind_of_input_is_labelled_and_submitted(page: Page, opened: Open, bot: StandIn) -> None:
    def labelled(label: str, element: Json) -> Json:
        return {"type": "input", "block_id": label, "label": plain(label), "element": element}

    boxes = {"type": "checkboxes", "action_id": "boxes", "options": [option("Seen"), option("Told")]}
    radios = {"type": "radio_buttons", "action_id": "radios", "options": [option("Session"), option("Query")]}
    reason = text_input("Reason", "Reason", multiline=True, max_length=20) | {"hint": plain("Goes into the record.")}
    blocks = [
        reason,
        labelled("Tenant", static_select("sys", "shop")),
        labelled("Sessions", multi_select("s17", "s18")),
        labelled("Checks", boxes),
        labelled("What", radios),
    ]
    opened(modal("Close sessions", *blocks, submit="Close them"))
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_role("textbox", name="Reason")
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description("Goes into the record.")
    field.press_sequentially("twenty characters at most")
    dialog.get_by_role("combobox", name="Tenant").click()
    page.get_by_role("option", name="shop").click()
    dialog.get_by_role("combobox", name="Sessions").click()
    page.get_by_role("option", name="s18").click()
    page.keyboard.press("Escape")
    dialog.get_by_role("group", name="Checks").get_by_role("checkbox", name="Told").check()
    dialog.get_by_role("radiogroup", name="What").get_by_role("radio", name="Query").check()
    assert bot.payloads.empty()
    dialog.get_by_role("button", name="Close them").click()
    expect(dialog).to_have_count(0)
    values = bot.next()["view"]["state"]["values"]
    assert values["Reason"]["text"]["value"] == "twenty characters at"
    assert values["Tenant"]["one"]["selected_option"]["value"] == "shop"
    assert [each["value"] for each in values["Sessions"]["many"]["selected_options"]] == ["s18"]
    assert [each["value"] for each in values["Checks"]["boxes"]["selected_options"]] == ["told"]
    assert values["What"]["radios"]["selected_option"]["value"] == "query"


def test_a_required_input_must_be_filled_and_an_optional_one_says_so(page: Page, opened: Open, bot: StandIn) -> None:
    opened(modal("A form", text_input("Reason", "why"), text_input("Note", "note", optional=True), submit="Send it"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("(optional)")).to_have_count(1)
    dialog.get_by_role("button", name="Send it").click()
    expect(dialog.get_by_role("alert")).to_have_text("Please complete this required field.")
    expect(dialog.get_by_role("textbox", name="Reason")).to_be_focused()
    assert bot.payloads.empty()


def test_the_apps_errors_stand_under_their_inputs(page: Page, opened: Open, bot: StandIn) -> None:
    opened(modal("A form", text_input("Reason", "why"), text_input("Host", "host"), submit="Send it"))
    bot.answer = {"response_action": "errors", "errors": {"host": "There is no such host."}}
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Reason").fill("slow")
    dialog.get_by_role("textbox", name="Host").fill("nowhere")
    dialog.get_by_role("button", name="Send it").click()
    expect(dialog.get_by_role("textbox", name="Host")).to_have_accessible_description("There is no such host.")
    expect(dialog.get_by_role("textbox", name="Host")).to_have_attribute("aria-invalid", "")
    expect(dialog.get_by_role("alert")).to_have_count(1)


def test_a_submission_that_nobody_answers_says_so_and_keeps_what_was_typed(
    page: Page, opened: Open, bot: StandIn, hasty: Faults
) -> None:
    opened(modal("A form", text_input("Reason", "why"), submit="Send it"))
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Reason").fill("slow")
    bot.hold()
    submit = dialog.get_by_role("button", name="Send it")
    submit.evaluate(NOTE_WHEN_BUSY)
    submit.click()
    expect(dialog.get_by_role("alert")).to_have_text("The app did not respond in time. (operation_timeout)")
    assert page.evaluate("globalThis.wasBusy")
    expect(dialog.get_by_role("textbox", name="Reason")).to_have_value("slow")


def test_an_update_keeps_what_was_typed_where_the_input_stays(page: Page, opened: Open, client: WebClient) -> None:
    reason = text_input("Reason", "why")
    view = opened(modal("A form", section("loading"), reason, text_input("Old", "old"), submit="Send it"))
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Reason").fill("typed before")
    client.views_update(
        view_id=view["id"], view=modal("A form", section("ready"), reason | {"hint": plain("new")}, submit="Send it")
    )
    expect(dialog.get_by_text("ready")).to_be_visible()
    expect(dialog.get_by_text("loading")).to_have_count(0)
    expect(dialog.get_by_role("textbox")).to_have_value("typed before")
    expect(dialog.get_by_role("textbox")).to_be_focused()


def test_a_pushed_modal_covers_the_first_and_gives_it_back_as_it_was(
    page: Page, opened: Open, client: WebClient, bot: StandIn
) -> None:
    opened(modal("First", text_input("Reason", "why"), actions(button("More")), submit="Send it"))
    page.get_by_role("textbox", name="Reason").fill("typed below")
    page.get_by_role("dialog").get_by_role("button", name="More").click()
    client.views_push(trigger_id=bot.next()["trigger_id"], view=modal("Second", section("details")))
    expect(page.get_by_role("dialog", name="Second")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(1)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog", name="First").get_by_role("textbox")).to_have_value("typed below")


def test_long_content_scrolls_inside_the_modal(page: Page, opened: Open) -> None:
    opened(modal("Long", *(section(f"paragraph {number}\n" * 4) for number in range(20)), submit="Send it"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Send it")).to_be_in_viewport(ratio=1)
    assert dialog.locator(".modal-body").evaluate("node => node.scrollHeight > node.clientHeight")


def test_a_number_input_takes_only_numbers_in_its_range(page: Page) -> None:
    element = {"type": "number_input", "action_id": "n", "is_decimal_allowed": False, "min_value": "5"}
    block = {"type": "input", "block_id": "n", "label": plain("Seconds"), "element": element}
    show_modal_instead(page, modal("Wait", block, submit="Send it"))
    dialog = page.get_by_role("dialog", name="Wait")
    field = dialog.get_by_role("textbox", name="Seconds")
    for typed, error in (("soon", "Please enter a number."), ("3", "Please enter 5 or more.")):
        field.fill(typed)
        field.press("Enter")
        expect(field).to_have_accessible_description(error)
