"""How the page shows Block Kit's blocks."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.page.conftest import Say
from tests.sandbox.slack.page.pieces import (
    article,
    button,
    mrkdwn,
    plain,
    raw,
    rich,
    section,
    show_instead,
)

SQL = "SELECT `a` FROM t -- ``` <!channel> </pre> &lt;\nWHERE b = 'x'"


@pytest.fixture
def statement() -> dict[str, object]:
    text = {"type": "text", "text": SQL}
    return rich({"type": "rich_text_preformatted", "language": "sql", "elements": [text]})


def test_headers_sections_fields_contexts_and_dividers_are_shown(page: Page, say: Say) -> None:
    say(
        {"type": "header", "text": plain("Sessions of prod"), "level": 2},
        {"type": "section", "text": plain("*plain* &amp; simple"), "fields": [mrkdwn("*User*\nshop"), plain("field")]},
        {"type": "divider"},
        {"type": "context", "elements": [mrkdwn("as of *now*"), plain("small print")]},
    )
    message = article(page, "Sessions of prod").last
    expect(message.get_by_role("heading", name="Sessions of prod")).to_have_class("header level-2")
    expect(message.get_by_text("*plain* &amp; simple")).to_be_visible()
    expect(message.locator(".fields > *")).to_have_text(["User\nshop", "field"])
    expect(message.get_by_role("separator")).to_be_visible()
    expect(message.locator(".context strong")).to_have_text("now")


def test_a_table_has_column_headers_and_the_alignment_asked_for(page: Page, say: Say) -> None:
    cell = rich({"type": "rich_text_section", "elements": [{"type": "text", "text": "rich", "style": {"bold": True}}]})
    say(
        {
            "type": "table",
            "rows": [
                raw("Session ID", "SQL", "Aligned"),
                [*raw("17"), cell, {"type": "raw_number", "value": 4, "text": "4 s"}],
            ],
            "column_settings": [{"align": "right"}, {"is_wrapped": True}, {"align": "center"}],
        }
    )
    table = page.get_by_role("table").filter(has_text="Aligned")
    expect(table.get_by_role("columnheader")).to_have_text(["Session ID", "SQL", "Aligned"])
    expect(table.get_by_role("cell")).to_have_text(["17", "rich", "4 s"])
    expect(table.get_by_role("cell", name="17")).to_have_css("text-align", "right")
    expect(table.get_by_role("cell", name="4 s")).to_have_css("text-align", "center")
    expect(table.locator("strong")).to_have_text("rich")


def test_a_wide_table_scrolls_inside_its_message(page: Page, say: Say) -> None:
    say({"type": "table", "rows": [raw(*(f"a rather wide column {n}" for n in range(10)))] * 2})
    frame = article(page, "a rather wide column 9").locator(".table-frame")
    assert frame.evaluate("node => node.scrollWidth > node.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_data_table_is_captioned_and_turned_page_by_page(page: Page, say: Say) -> None:
    rows = [[*raw(f"tenant {n}"), {"type": "raw_number", "value": n, "text": f"{n}00"}] for n in range(1, 6)]
    say(
        {"type": "data_table", "caption": "Tenants by size", "page_size": 2, "rows": [raw("Tenant", "Sessions"), *rows]}
    )
    table = page.get_by_role("table", name="Tenants by size")
    message = article(page, "Tenants by size")
    expect(table.get_by_role("rowheader")).to_have_text(["tenant 1", "tenant 2"])
    expect(table.get_by_role("cell", name="100")).to_have_css("text-align", "right")
    message.get_by_role("button", name="Next").click()
    message.get_by_role("button", name="Next").click()
    expect(table.get_by_role("rowheader")).to_have_text(["tenant 5"])
    expect(message.get_by_text("5–5 of 5")).to_be_visible()
    expect(message.get_by_role("button", name="Next")).to_be_disabled()
    expect(message.get_by_role("button", name="Previous")).to_be_focused()


def test_rich_text_shows_styles_mentions_lists_and_quotes(page: Page, say: Say) -> None:
    def words(text: str, **style: bool) -> dict[str, object]:
        return {"type": "text", "text": text, **({"style": style} if style else {})}

    def item(text: str) -> dict[str, object]:
        return {"type": "rich_text_section", "elements": [words(text)]}

    inline = [
        words("rich words "),
        words("loud", bold=True),
        words("code", code=True),
        words("gone", strike=True, italic=True),
        {"type": "link", "url": "https://example.com/", "text": "a link"},
        {"type": "user", "user_id": "U03GUS"},
        {"type": "emoji", "name": "eyes"},
    ]
    say(
        rich(
            {"type": "rich_text_section", "elements": inline},
            {"type": "rich_text_list", "style": "bullet", "elements": [item("one"), item("two")]},
            {"type": "rich_text_list", "style": "ordered", "indent": 1, "offset": 2, "elements": [item("third")]},
            {"type": "rich_text_quote", "elements": [words("said so")]},
        )
    )
    message = article(page, "rich words")
    expect(message.locator("strong")).to_have_text("loud")
    expect(message.locator("code")).to_have_text("code")
    expect(message.locator("em s, s em")).to_have_text("gone")
    expect(message.get_by_role("link", name="a link")).to_have_attribute("href", "https://example.com/")
    expect(message.locator(".mention")).to_have_text("@Gus Weber")
    expect(message.get_by_role("listitem")).to_have_text(["one", "two", "third"])
    expect(message.locator("ol")).to_have_attribute("start", "3")
    expect(message.locator("blockquote")).to_have_text("said so")


def test_preformatted_text_is_literal_coloured_as_sql_and_can_be_copied(
    page: Page, say: Say, statement: dict[str, object]
) -> None:
    say(section("the statement"), statement)
    message = article(page, "the statement")
    assert message.locator("pre").inner_text() == SQL
    expect(message.locator(".sql-word")).to_have_text(["SELECT", "FROM", "WHERE"])
    expect(message.locator(".sql-string")).to_have_text("'x'")
    message.get_by_role("button", name="Copy").click()
    expect(message.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == SQL


def test_a_markdown_block_is_read_as_markdown(page: Page, say: Say) -> None:
    lines = [
        "## A title",
        "Text **fat** *thin* `code` [book](https://example.com/)",
        "",
        "- first",
        "- [x] ticked",
        "",
        "1. one",
        "",
        "| A | B |",
        "|---|---|",
        "| 1 | <b>2</b> |",
        "",
        "```sql",
        "select 1",
        "```",
        "> quote",
    ]
    say({"type": "markdown", "text": "\n".join(lines)})
    message = article(page, "A title")
    expect(message.get_by_role("heading", name="A title")).to_be_visible()
    expect(message.locator("strong")).to_have_text("fat")
    expect(message.get_by_role("link", name="book")).to_be_visible()
    expect(message.get_by_role("listitem")).to_have_text(["first", "ticked", "one"])
    expect(message.get_by_role("checkbox")).to_be_checked()
    expect(message.get_by_role("cell")).to_have_text(["1", "<b>2</b>"])
    expect(message.locator("pre")).to_have_text("select 1")
    expect(message.locator("blockquote")).to_have_text("quote")


def test_own_pictures_are_shown_and_foreign_ones_only_named(page: Page, say: Say, sandbox: SlackSandbox) -> None:
    own = {"type": "image", "image_url": sandbox.page_url + "static/icon.svg", "alt_text": "the emblem"}
    foreign = {
        "type": "image",
        "image_url": "https://example.com/graph.png",
        "alt_text": "a graph",
        "title": plain("Load"),
    }
    say(section("pictures", accessory=own), foreign)
    message = article(page, "pictures")
    expect(message.get_by_role("img", name="the emblem")).to_have_js_property("naturalWidth", 32)
    expect(message.get_by_role("link", name="a graph")).to_be_visible()
    expect(message.get_by_text("Load")).to_be_visible()


def test_a_container_holds_blocks_and_folds(page: Page) -> None:
    inside = section("inside it")
    show_instead(
        page,
        {
            "type": "container",
            "block_id": "c",
            "title": plain("Details"),
            "is_collapsible": True,
            "child_blocks": [inside],
        },
    )
    expect(page.get_by_text("inside it")).to_be_visible()
    page.get_by_text("Details").click()
    expect(page.get_by_text("inside it")).to_be_hidden()


def test_a_card_shows_its_texts_and_buttons(page: Page) -> None:
    show_instead(
        page,
        {
            "type": "card",
            "block_id": "c",
            "title": mrkdwn("*Title*"),
            "body": mrkdwn("body"),
            "subtext": plain("sub"),
            "actions": [button("Go")],
        },
    )
    message = article(page, "Title")
    expect(message.get_by_text("body")).to_be_visible()
    expect(message.get_by_role("button", name="Go")).to_be_visible()


def test_a_chart_shows_each_value_and_says_it_to_those_who_listen(page: Page, say: Say) -> None:
    numbers = {"Active": {"app": 3, "report": 0}, "Other": {"app": 1, "report": 1200}}
    series = [
        {"name": name, "data": [{"label": label, "value": value} for label, value in of.items()]}
        for name, of in numbers.items()
    ]
    bars = {"type": "bar", "series": series, "axis_config": {"categories": ["app", "report"]}}
    say({"type": "data_visualization", "title": "By user", "chart": bars})
    shown = page.get_by_role("group", name="By user")
    expect(shown.get_by_role("img", name="report: Active 0, Other 1200")).to_be_visible()
    expect(shown.locator(".chart-value")).to_have_text(["3 + 1", "0 + 1,200"])
    expect(shown.locator(".chart-legend")).to_have_text("ActiveOther")
