"""What the page makes of a message: its author, its place in the channel, its mrkdwn."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Page, expect
from slack_sdk import WebClient

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.page.conftest import Say
from tests.sandbox.slack.page.pieces import actions, article, button, mrkdwn, section, show_instead
from tests.support.slack_person import Person


def test_a_message_shows_its_author_the_app_badge_and_the_time_and_is_named_by_them(page: Page, say: Say) -> None:
    say(text="hello from the bot")
    message = page.get_by_role("log").get_by_role("article", name=re.compile(r"^session-bot, \d+:\d\d [AP]M$"))
    message = message.filter(has_text="hello from the bot")
    expect(message.get_by_text("APP", exact=True)).to_be_visible()
    expect(message.get_by_role("time").first).to_be_visible()


def test_what_a_person_says_appears_at_once_under_their_name(page: Page, sandbox: SlackSandbox) -> None:
    Person(sandbox, "U02BOB").types("is *anybody* here? 1 < 2")
    message = page.get_by_role("article", name="Bob Ortiz").filter(has_text="is anybody here? 1 < 2")
    expect(message.locator("strong")).to_have_text("anybody")


def test_mrkdwn_is_styled_as_slack_does(page: Page, say: Say) -> None:
    say(
        section(
            "*fat* _slanted_ ~struck~ `*code*` snake_case_name 2*3*4\n> quoted\n> more\nafter\n```\n_raw_ block\n```"
        )
    )
    message = article(page, "snake_case_name 2*3*4")
    expect(message.locator("strong")).to_have_text("fat")
    expect(message.locator("em")).to_have_text("slanted")
    expect(message.locator("s")).to_have_text("struck")
    expect(message.locator("p code, .text > code")).to_have_text("*code*")
    expect(message.locator("blockquote")).to_have_text("quoted\nmore")
    expect(message.locator("pre")).to_have_text("_raw_ block")


def test_an_unescaped_mention_is_highlighted_even_inside_code(page: Page, say: Say) -> None:
    say(section("who: <@U02BOB> <#C02DBA> <!here> <!channel> <!everyone> <!subteam^S0DBATEAM|@dba> `<!channel>`"))
    mentions = article(page, "who:").locator(".mention")
    expect(mentions).to_have_text(["@Bob Ortiz", "#dba", "@here", "@channel", "@everyone", "@dba", "@channel"])


def test_escaped_text_is_decoded_once_and_stays_text(page: Page, say: Say) -> None:
    say(section("escaped: &lt;!channel&gt; &amp;lt; &lt;img src=x onerror=alert(1)&gt;"))
    message = article(page, "escaped: <!channel> &lt; <img src=x onerror=alert(1)>")
    expect(message).to_be_visible()
    expect(message.locator(".mention, img")).to_have_count(0)


def test_links_open_elsewhere_and_only_web_addresses_become_links(page: Page, say: Say) -> None:
    say(
        section(
            "<https://example.com/a?b=1&amp;c=2|the book> or https://example.com/x_y. not <javascript:alert(1)|this>"
        )
    )
    links = article(page, "the book").get_by_role("link")
    expect(links).to_have_text(["the book", "https://example.com/x_y"])
    expect(links.first).to_have_attribute("href", "https://example.com/a?b=1&c=2")
    expect(links.first).to_have_attribute("rel", "noopener noreferrer")


def test_dates_are_written_in_the_readers_zone(page: Page, say: Say) -> None:
    say(
        section(
            "dates: <!date^1751373005^{date_num} {time_secs}|no>; <!date^1751373005^{date_short}, {time}|no>;"
            f" <!date^{int(time.time()) - 125}^{{ago}}|no>; <!date^never^{{date}}|a fallback>"
        )
    )
    message = article(page, "dates:")
    expect(message).to_contain_text("2025-07-01 1:30:05 PM; Jul 1, 2025, 1:30 PM; 2 minutes ago; a fallback")


def test_known_emoji_are_drawn_and_times_with_colons_are_left_alone(page: Page, say: Say) -> None:
    say(section("done :white_check_mark: at 10:30:45 :no_such_emoji:"))
    message = article(page, "at 10:30:45 :no_such_emoji:")
    expect(message.get_by_role("img", name="white check mark emoji")).to_have_text("✅")


def test_a_message_is_changed_where_it_stands_and_marked_when_its_text_was_edited(
    page: Page, say: Say, client: WebClient
) -> None:
    ts = say(text="first words")
    expect(article(page, "first words")).to_be_visible()
    client.chat_update(channel="C01INC", ts=ts, text="other words")
    expect(article(page, "other words")).to_contain_text("(edited)")
    expect(article(page, "first words")).to_have_count(0)


def test_a_deleted_message_vanishes(page: Page, say: Say, client: WebClient) -> None:
    ts = say(text="soon gone")
    expect(article(page, "soon gone")).to_be_visible()
    client.chat_delete(channel="C01INC", ts=ts)
    expect(article(page, "soon gone")).to_have_count(0)


def test_an_ephemeral_message_says_that_only_its_reader_sees_it(page: Page, client: WebClient) -> None:
    client.chat_postEphemeral(channel="C01INC", user="U02BOB", text="for Bob alone")
    client.chat_postEphemeral(channel="C01INC", user="U01ALICE", text="for Alice alone")
    message = article(page, "for Alice alone")
    expect(message.get_by_text("Only visible to you")).to_be_visible()
    expect(message.locator(".icon-eye")).to_be_visible()
    expect(article(page, "for Bob alone")).to_have_count(0)


def test_a_reader_at_the_end_stays_there_and_one_who_scrolled_up_is_not_moved(page: Page, say: Say) -> None:
    for number in range(3):
        say(text=f"filler {number}\n" + "line\n" * 20)
    expect(article(page, "filler 2")).to_be_in_viewport()
    messages = page.get_by_role("region", name="History")
    # The page hears of scrolling with the next frame: only then has the reader scrolled up.
    scrolled = "done => { node.addEventListener('scroll', () => done(), { once: true }); node.scrollTop = 40; }"
    messages.evaluate(f"node => new Promise({scrolled})")
    say(text="the newest")
    latest = page.get_by_role("button", name="Latest messages")
    expect(latest).to_be_visible()
    assert messages.evaluate("node => node.scrollTop") == 40
    latest.click()
    expect(article(page, "the newest")).to_be_in_viewport()
    expect(latest).to_be_hidden()


def test_an_update_keeps_choices_scroll_and_focus(page: Page, say: Say, client: WebClient) -> None:
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": f"column {n} is wide"} for n in range(12)]]}
    select = {
        "type": "static_select",
        "action_id": "pick",
        "placeholder": {"type": "plain_text", "text": "Pick"},
        "options": [{"text": {"type": "plain_text", "text": name}, "value": name} for name in ("one", "two")],
    }

    def blocks(moment: str) -> list[dict[str, object]]:
        rows = [*table["rows"], [{"type": "raw_text", "text": moment}] * 12]
        return [section(moment), {**table, "rows": rows}, actions(select, button("Again"), block_id=moment[:7])]

    ts = say(*blocks("live-up: before"))
    message = article(page, "live-up")
    message.get_by_role("combobox", name="Pick").click()
    page.get_by_role("option", name="two").click()
    message.locator(".table-frame").evaluate("node => { node.scrollLeft = 120; }")
    message.get_by_role("button", name="Again").focus()
    client.chat_update(channel="C01INC", ts=ts, text="x", blocks=blocks("live-up: after"))
    expect(message).to_contain_text("live-up: after")
    expect(message.get_by_role("combobox", name="Pick")).to_have_text("two")
    expect(message.get_by_role("button", name="Again")).to_be_focused()
    assert message.locator(".table-frame").evaluate("node => node.scrollLeft") == 120


def test_a_block_that_the_page_does_not_know_says_so(page: Page) -> None:
    show_instead(
        page, {"type": "video", "block_id": "v"}, {"type": "context", "block_id": "c", "elements": [mrkdwn("below")]}
    )
    message = article(page, "below")
    expect(message.get_by_text("This block type is not shown here: video")).to_be_visible()
