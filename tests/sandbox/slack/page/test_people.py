"""The frame around the messages: composer, channels, people, narrow windows, lost connections."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, Page, expect
from slack_sdk import WebClient

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.page.conftest import COMMANDS, Say, StandIn
from tests.sandbox.slack.page.pieces import actions, article, button, raw, section
from tests.support.slack_person import Person


def test_enter_sends_and_shift_enter_begins_a_new_line(page: Page) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    expect(box).to_have_attribute("placeholder", "Message #incident")
    box.press_sequentially("first line")
    box.press("Shift+Enter")
    box.press_sequentially("second line")
    box.press("Enter")
    expect(article(page, "first line")).to_contain_text("first line\nsecond line")
    expect(box).to_have_value("")


def test_the_send_button_sends_and_waits_for_text(page: Page) -> None:
    send = page.get_by_role("button", name="Send")
    expect(send).to_be_disabled()
    page.get_by_role("textbox", name="Message", exact=True).fill("by button")
    send.click()
    expect(page.get_by_role("article", name="Alice Ng").filter(has_text="by button")).to_be_visible()


def test_a_slash_lists_the_commands_and_tab_completes_the_chosen_one(page: Page) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.press_sequentially("/")
    options = page.get_by_role("listbox", name="Slash commands").get_by_role("option")
    expect(options).to_have_count(2)
    expect(options.first).to_contain_text("[tenant=NAME] [active-only] [help]")
    expect(options.first).to_contain_text("See sessions")
    box.press("ArrowDown")
    expect(options.last).to_have_attribute("aria-selected", "true")
    box.press("Tab")
    expect(box).to_have_value("/kill-session ")
    expect(page.locator("#usage")).to_have_text("/kill-session ID [query]")
    expect(options).to_have_count(0)
    box.fill("")


def test_a_command_is_sent_but_not_shown_in_the_channel(page: Page, bot: StandIn) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.fill("/sessions tenant=quiet")
    box.press("Enter")
    sent = bot.next()
    assert (sent["command"], sent["text"], sent["user_id"]) == ("/sessions", "tenant=quiet", "U01ALICE")
    expect(box).to_have_value("")
    expect(article(page, "tenant=quiet")).to_have_count(0)


def test_an_unknown_command_is_refused_as_slack_does(page: Page) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.fill("/nonsense")
    box.press("Enter")
    message = article(page, "/nonsense is not a valid command")
    expect(message.get_by_text("Only visible to you")).to_be_visible()


def test_up_recalls_what_was_sent_before(page: Page) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    for text in ("one of two", "/sessions again"):
        box.fill(text)
        box.press("Enter")
    box.press("ArrowUp")
    expect(box).to_have_value("/sessions again")
    box.press("ArrowUp")
    expect(box).to_have_value("one of two")
    box.press("ArrowDown")
    box.press("ArrowDown")
    expect(box).to_have_value("")


def test_an_empty_channel_offers_commands_that_fill_the_box(page: Page) -> None:
    page.get_by_role("button", name="general").click()
    expect(page.get_by_text("This is the beginning of #general")).to_be_visible()
    page.get_by_role("button", name="/kill-session ID").click()
    box = page.get_by_role("textbox", name="Message", exact=True)
    expect(box).to_have_value("/kill-session ")
    page.get_by_role("button", name="/sessions active-only").click()
    expect(box).to_have_value("/sessions active-only")
    expect(box).to_be_focused()


def test_acting_as_somebody_else_shows_what_they_see_and_sends_as_them(page: Page, client: WebClient) -> None:
    client.chat_postEphemeral(channel="C01INC", user="U03GUS", text="for Gus alone")
    people = page.get_by_role("group", name="Acting as")
    expect(people.get_by_role("radio", name="Alice Ng")).to_be_checked()
    expect(page.get_by_role("button", name="dba")).to_be_visible()
    people.get_by_role("radio", name="Gus Weber").check()
    expect(article(page, "for Gus alone")).to_be_visible()
    expect(page.get_by_role("button", name="dba")).to_have_count(0)
    assert "as=U03GUS" in page.url
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.fill("said by Gus")
    box.press("Enter")
    expect(page.get_by_role("article", name="Gus Weber").filter(has_text="said by Gus")).to_be_visible()


def test_the_address_names_person_and_channel(page: Page, sandbox: SlackSandbox) -> None:
    page.goto(f"{sandbox.page_url}?as=U02BOB&channel=C02DBA")
    expect(page.get_by_role("heading", name="dba")).to_be_visible()
    expect(page.get_by_role("radio", name="Bob Ortiz")).to_be_checked()
    expect(page.get_by_role("button", name="dba")).to_have_attribute("aria-current", "page")


def test_a_channel_with_something_new_is_marked_until_it_is_opened(page: Page, say: Say) -> None:
    say(text="news for the DBAs", channel="C02DBA")
    link = page.get_by_role("button", name="dba (new messages)")
    link.click()
    expect(article(page, "news for the DBAs")).to_be_visible()
    expect(link).to_have_count(0)


def test_in_a_narrow_window_the_sidebar_is_behind_a_button_and_nothing_sticks_out(page: Page, say: Say) -> None:
    say(section("narrow"), {"type": "table", "rows": [raw(*(f"column number {n}" for n in range(9)))] * 2})
    page.set_viewport_size({"width": 390, "height": 844})
    expect(article(page, "narrow")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert article(page, "narrow").locator(".table-frame").evaluate("node => node.scrollWidth > node.clientWidth")
    channel = page.get_by_role("button", name="general")
    expect(channel).to_be_hidden()
    menu = page.get_by_role("button", name="Menu")
    menu.click()
    expect(menu).to_have_attribute("aria-expanded", "true")
    channel.click()
    expect(page.get_by_role("heading", name="general")).to_be_visible()
    expect(channel).to_be_hidden()


def test_a_dark_system_gets_a_dark_page(page: Page) -> None:
    paper = page.get_by_role("main")
    expect(paper).to_have_css("background-color", "rgb(255, 255, 255)")
    page.emulate_media(color_scheme="dark")
    expect(paper).to_have_css("background-color", "rgb(26, 29, 33)")
    page.emulate_media(color_scheme="light")


def test_a_lost_connection_is_said_and_made_up_for(context: BrowserContext) -> None:
    with SlackSandbox(commands=COMMANDS) as first:
        port = first.port
        page = context.new_page()
        page.goto(first.page_url)
        expect(page.get_by_role("heading", name="incident")).to_be_visible()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    with SlackSandbox(commands=COMMANDS, port=port) as second:
        Person(second, "U02BOB").types("said while the line was down")
        expect(article(page, "said while the line was down")).to_be_visible()
        expect(page.get_by_text("Reconnecting…")).to_be_hidden()
        page.close()


def test_the_page_needs_nothing_from_elsewhere(page: Page, sandbox: SlackSandbox) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.get_by_role("heading", name="incident")).to_be_visible()
    assert [url for url in asked if not re.match(re.escape(sandbox.page_url), url)] == []
    page.evaluate("globalThis.home = location.href")


def test_a_direct_message_with_a_file_appears_for_that_person_and_opens_to_its_whole_text(
    page: Page, client: WebClient
) -> None:
    channel = client.conversations_open(users="U01ALICE")["channel"]["id"]
    client.files_upload_v2(channel=channel, content="SELECT 1\n-- the end", filename="s.sql", title="SQL of 17")
    page.get_by_role("navigation").get_by_role("button", name="session-bot (new messages)").click()
    expect(page.get_by_role("heading", name="session-bot", exact=True)).to_be_visible()
    page.get_by_text("SQL of 17").click()
    expect(page.get_by_text("-- the end")).to_be_visible()
    page.get_by_role("button", name="incident").click()


def test_the_home_tab_shows_what_the_app_publishes_and_tells_the_app_of_the_look_and_of_presses(
    page: Page, client: WebClient, bot: StandIn
) -> None:
    page.locator("#apps").get_by_role("button", name="session-bot").click()
    opened = bot.next()
    assert (opened["event"]["type"], opened["event"]["user"], opened["event"]["tab"]) == (
        "app_home_opened",
        "U01ALICE",
        "home",
    )
    home = page.get_by_role("region", name="Home")
    expect(home).to_contain_text("This app has not published its Home tab yet.")
    client.views_publish(user_id="U01ALICE", view={"type": "home", "blocks": [actions(button("Refresh"))]})
    home.get_by_role("button", name="Refresh").click()
    pressed = bot.next()
    assert pressed["container"]["type"] == "view"
    assert pressed["view"]["type"] == "home"
    assert "response_url" not in pressed
    page.get_by_role("button", name="incident").click()
    expect(page.get_by_role("log")).to_be_visible()
