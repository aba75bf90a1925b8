"""The main job as a person does it: on the page, in a real browser, on both kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.patience import PATIENCE
from tests.support.stage import Stage, session_id


@pytest.fixture
def page(stage: Stage, page_browser: Browser) -> Iterator[Page]:
    """Give Alice's window on the incident channel; any complaint of the browser fails the test."""
    context = page_browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    expect.set_options(timeout=1000 * PATIENCE)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(f"{stage.slack.page_url}?as=U01ALICE&channel=C01INC")
    yield opened
    context.close()
    assert complaints == []


def types(page: Page, text: str) -> None:
    """Type a command and send it; a dialog that is just closing still keeps the box from being typed in."""
    expect(page.get_by_role("dialog")).to_have_count(0)
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Escape")  # the list of commands
    box.press("Enter")


def last_message(page: Page, text: str) -> Locator:
    """Return the newest message with that text."""
    found = page.get_by_role("article").filter(has_text=text).last
    expect(found).to_be_visible()
    return found


def test_listing_picking_reading_and_closing_a_query_works_by_hand(stage: Stage, page: Page) -> None:
    report = stage.runs("SELECT SLEEP(60), 'the long report' AS title")
    types(page, "/sessions tenant=sys active-only")
    listed = last_message(page, str(report.id))
    expect(listed.get_by_role("columnheader")).to_have_count(10)

    listed.get_by_role("combobox", name="Pick sessions").click()
    page.get_by_role("option").filter(has_text=str(report.id)).click()
    listed.get_by_role("button", name="View SQL").click()
    modal = page.get_by_role("dialog")
    expect(modal).to_contain_text("'the long report'")
    modal.get_by_role("button", name="Close", exact=True).click()

    types(page, f"/kill-session {report.id} query")
    card = last_message(page, f"Close the query of session {report.id}?")
    card.get_by_role("button", name="Close Query").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Keep it").click()
    assert report.is_alive(), "the confirm dialog was declined"
    card.get_by_role("button", name="Close Query").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Close Query").click()
    expect(last_message(page, "query closed")).to_contain_text("Close Query pressed by @Alice Ng")
    assert report.ended() == 1317
    with report.connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_guest_at_the_page_gets_a_sentence_only_he_sees(stage: Stage, page: Page) -> None:
    sleeper = stage.connect()
    page.get_by_role("radio", name="Gus Weber").check(force=True)
    types(page, f"/kill-session {session_id(sleeper)}")
    told = last_message(page, "You may not close sessions in this channel")
    expect(told).to_contain_text("Only visible to you")
    assert stage.row(session_id(sleeper))


def test_closing_an_idle_transaction_from_the_list_frees_its_waiter(stage: Stage, page: Page) -> None:
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 3 WHERE sku = 1")
    waiter = stage.runs("UPDATE stock SET quantity = quantity + 1 WHERE sku = 1", database="depot")
    types(page, f"/sessions id={session_id(holder)}")
    listed = last_message(page, str(session_id(holder)))
    listed.get_by_role("combobox", name="Pick sessions").click()
    page.get_by_role("option").filter(has_text=str(session_id(holder))).click()
    listed.get_by_role("button", name="Close Session").click()
    card = last_message(page, "is rolled back and the locks are released")
    card.get_by_role("button", name="Close Session").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Close Session").click()
    last_message(page, f"Close session {session_id(holder)}: ✅ closed")
    assert waiter.ended() == 0
