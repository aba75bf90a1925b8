"""Buttons, menus and the like: what they show, what they send, and what they do on the keyboard."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from sandbox.slack.faults import Faults
from tests.sandbox.slack.page.conftest import Say, StandIn
from tests.sandbox.slack.page.pieces import (
    actions,
    article,
    button,
    multi_select,
    option,
    plain,
    section,
    static_select,
    text_input,
)
from tests.support.patience import PATIENCE

CONFIRM = {
    "title": plain("Close session 17?"),
    "text": plain("Its transaction is rolled back."),
    "confirm": plain("Close it"),
    "deny": plain("Keep it"),
    "style": "danger",
}


def test_without_emoji_a_plain_text_is_shown_as_it_stands_also_as_the_name_of_a_control(page: Page, say: Say) -> None:
    say(section("literally"), actions(multi_select("fe80:100:1"), button("fe80:100:2")))
    message = article(page, "literally")
    message.get_by_role("combobox", name="Pick sessions").click()
    expect(page.get_by_role("option")).to_have_text("fe80💯1")
    literal = {"type": "plain_text", "text": "fe80:100:1", "emoji": False}
    menu = {**multi_select("x"), "placeholder": literal, "options": [{"text": literal, "value": "1"}]}
    page.keyboard.press("Escape")
    say(section("exactly"), actions(menu, {**button("x"), "text": literal}))
    message = article(page, "exactly")
    expect(message.get_by_role("button", name="fe80:100:1")).to_be_visible()
    message.get_by_role("combobox", name="fe80:100:1").click()
    page.get_by_role("option", name="fe80:100:1").click()
    page.keyboard.press("Escape")
    expect(message.get_by_role("button", name="Remove fe80:100:1")).to_be_visible()


def test_a_press_sends_the_button_with_all_that_was_chosen_in_the_message(page: Page, say: Say, bot: StandIn) -> None:
    say(section("press me"), actions(multi_select("s17", "s18"), button("Refresh")))
    message = article(page, "press me")
    message.get_by_role("combobox", name="Pick sessions").click()
    page.get_by_role("option", name="s18").click()
    message.get_by_role("button", name="Refresh").click()
    # Two requests of a browser may overtake each other, as they may on their way to Slack.
    sent = {payload["actions"][0]["action_id"]: payload for payload in (bot.next(), bot.next())}
    pressed = sent["refresh"]
    assert [each["value"] for each in sent["many"]["actions"][0]["selected_options"]] == ["s18"]
    assert pressed["actions"][0]["value"] == "secret"
    held = pressed["state"]["values"]["actions"]["many"]
    assert [each["value"] for each in held["selected_options"]] == ["s18"]


def test_a_button_shows_that_it_waits_and_cannot_be_pressed_twice_meanwhile(page: Page, say: Say, bot: StandIn) -> None:
    bot.hold()
    say(section("slow one"), actions(button("Refresh")))
    pressed = article(page, "slow one").get_by_role("button", name="Refresh")
    pressed.click()
    expect(pressed).to_have_attribute("aria-busy", "true")
    pressed.click()
    bot.next()
    bot.release()
    expect(pressed).not_to_have_attribute("aria-busy", "true")
    assert bot.payloads.empty()


def test_an_app_that_does_not_answer_earns_a_warning_at_the_message(
    page: Page, say: Say, bot: StandIn, hasty: Faults
) -> None:
    say(section("dead one"), actions(button("Refresh")))
    message = article(page, "dead one")
    bot.hold()
    message.get_by_role("button", name="Refresh").click()
    expect(message.get_by_role("alert")).to_have_text("The app did not respond in time. (operation_timeout)")
    bot.release()
    hasty.ack_within = PATIENCE
    message.get_by_role("button", name="Refresh").click()
    expect(message.get_by_role("alert")).to_be_hidden()


def test_a_confirm_dialog_asks_first_and_escape_or_the_second_button_sends_nothing(
    page: Page, say: Say, bot: StandIn
) -> None:
    say(section("ask first"), actions(button("Close Session", style="danger", confirm=CONFIRM)))
    pressed = article(page, "ask first").get_by_role("button", name="Close Session")
    dialog = page.get_by_role("alertdialog", name="Close session 17?")
    pressed.click()
    expect(dialog).to_have_accessible_description("Its transaction is rolled back.")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(pressed).to_be_focused()
    pressed.click()
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_have_count(0)
    assert bot.payloads.empty()
    pressed.click()
    dialog.get_by_role("button", name="Close it").click()
    assert bot.next()["actions"][0]["action_id"] == "close session"


def test_focus_stays_inside_a_confirm_dialog(page: Page, say: Say) -> None:
    say(section("trap focus"), actions(button("Close Session", confirm=CONFIRM)))
    article(page, "trap focus").get_by_role("button", name="Close Session").click()
    dialog = page.get_by_role("alertdialog")
    for _ in range(5):
        page.keyboard.press("Tab")
        # Between the last and the first button the browser's own controls come round.
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    dialog.get_by_role("button", name="Keep it").click()


def test_a_select_is_opened_read_and_chosen_from_by_keyboard_and_acts_at_once(
    page: Page, say: Say, bot: StandIn
) -> None:
    select = static_select("sys", "shop", "billing")
    select["options"][2]["description"] = plain("invoices and payments")
    say(section("by keyboard", accessory=select))
    control = article(page, "by keyboard").get_by_role("combobox", name="Pick a tenant")
    control.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("option")).to_have_text(["sys", "shop", "billinginvoices and payments"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    expect(page.get_by_role("listbox", name="Pick a tenant")).to_have_count(0)
    expect(control).to_have_text("billing")
    assert bot.next()["actions"][0]["selected_option"]["value"] == "billing"


def test_a_select_closes_on_escape_and_on_a_press_elsewhere_without_a_choice(
    page: Page, say: Say, bot: StandIn
) -> None:
    select = static_select("sys", "shop")
    del select["options"]
    select["option_groups"] = [{"label": plain("Tenants"), "options": [option("sys"), option("shop")]}]
    say(section("grouped", accessory=select))
    control = article(page, "grouped").get_by_role("combobox")
    options = page.get_by_role("group", name="Tenants").get_by_role("option")
    control.click()
    expect(options).to_have_text(["sys", "shop"])
    page.keyboard.press("Escape")
    expect(options).to_have_count(0)
    control.click()
    page.get_by_role("heading", name="incident").click()
    expect(options).to_have_count(0)
    expect(control).to_have_text("Pick a tenant")
    assert bot.payloads.empty()


def test_a_multi_select_shows_chips_and_acts_when_it_closes(page: Page, say: Say, bot: StandIn) -> None:
    say(section("several"), actions(multi_select("s17", "s18", "s19")))
    message = article(page, "several")
    message.get_by_role("combobox", name="Pick sessions").click()
    page.get_by_role("option", name="s17").click()
    page.get_by_role("option", name="s19").click()
    expect(page.get_by_role("option", name="s19")).to_have_attribute("aria-selected", "true")
    assert bot.payloads.empty()
    page.keyboard.press("Escape")
    assert [each["value"] for each in bot.next()["actions"][0]["selected_options"]] == ["s17", "s19"]
    message.get_by_role("button", name="Remove s17").click()
    assert [each["value"] for each in bot.next()["actions"][0]["selected_options"]] == ["s19"]
    expect(message.locator(".chip")).to_have_text(["s19"])


def test_an_overflow_menu_sends_what_was_picked(page: Page, say: Say, bot: StandIn) -> None:
    overflow = {"type": "overflow", "action_id": "more", "options": [option("Lock waits"), option("History")]}
    say(section("with more", accessory=overflow))
    article(page, "with more").get_by_role("button", name="More actions").click()
    page.get_by_role("menu").get_by_role("menuitem", name="History").click()
    assert bot.next()["actions"][0]["selected_option"]["value"] == "history"


def test_checkboxes_and_radio_buttons_send_what_is_ticked(page: Page, say: Say, bot: StandIn) -> None:
    boxes = {
        "type": "checkboxes",
        "action_id": "boxes",
        "options": [option("Active only"), option("With idle")],
        "initial_options": [option("With idle")],
    }
    radios = {"type": "radio_buttons", "action_id": "radios", "options": [option("Session"), option("Query")]}
    say(section("ticks"), actions(boxes, radios))
    message = article(page, "ticks")
    expect(message.get_by_role("checkbox", name="With idle")).to_be_checked()
    message.get_by_role("checkbox", name="Active only").check()
    assert [each["value"] for each in bot.next()["actions"][0]["selected_options"]] == ["active only", "with idle"]
    message.get_by_role("radio", name="Query").check()
    assert bot.next()["actions"][0]["selected_option"]["value"] == "query"


def test_an_input_acts_only_with_dispatch_action(page: Page, say: Say, bot: StandIn) -> None:
    say(section("inputs"), text_input("Quiet", "quiet"), text_input("Eager", "eager") | {"dispatch_action": True})
    message = article(page, "inputs")
    message.get_by_role("textbox", name="Quiet").fill("a")
    message.get_by_role("textbox", name="Quiet").press("Enter")
    message.get_by_role("textbox", name="Eager").fill("b")
    message.get_by_role("textbox", name="Eager").press("Enter")
    sent = bot.next()
    assert (sent["actions"][0]["block_id"], sent["actions"][0]["value"]) == ("eager", "b")
    assert sent["state"]["values"]["quiet"]["text"]["value"] == "a"
    assert bot.payloads.empty()
