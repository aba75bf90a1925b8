"""Takes the README's pictures from a running demo: `make demo` in one terminal, `make screenshots` in another."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.conftest import CHROMIUM_ARGUMENTS

PICTURES = Path(__file__).parents[2] / "docs"


def main() -> int:
    """Play the main job on the demo's page and keep what it looks like."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("There is no chromium on this machine (Debian: apt-get install chromium).\n")
        return 1
    port = os.environ.get("DEMO_PORT") or "8026"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 860})
        page.goto(f"http://127.0.0.1:{port}/?as=U01ALICE&channel=C01INC")
        page.get_by_role("radio", name="Alice Ng").wait_for(state="attached")
        listed = types(page, "/sessions tenant=sys active-only", "Sessions on demo")
        page.screenshot(path=PICTURES / "sessions.png")
        report = re.search(r"(\d+)(?=SELECT c\.region)", listed.inner_text().replace("\t", "").replace("\n", ""))
        assert report is not None, "the long report is not in the list"
        card = types(
            page, f'/kill-session {report[1]} query reason="slows the shop down"', "Close the query of session"
        )
        card.get_by_role("button", name="Close Query").scroll_into_view_if_needed()
        page.screenshot(path=PICTURES / "card.png")
        card.get_by_role("button", name="Close Query").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Close Query").click()
        expect(page.get_by_role("article").filter(has_text="query closed").last).to_be_visible()
        types(page, "/sessions stats", "Session statistics of demo")
        page.screenshot(path=PICTURES / "stats.png")
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto(page.url)
        phone.get_by_role("article").filter(has_text="query closed").last.scroll_into_view_if_needed()
        phone.screenshot(path=PICTURES / "phone.png")
        browser.close()
    return 0


def types(page: Page, text: str, answer: str) -> Locator:
    """Send a command and return the newest message with that text."""
    box = page.get_by_role("textbox", name="Message")
    before = page.get_by_role("article").filter(has_text=answer).count()
    box.fill(text)
    box.press("Escape")
    box.press("Enter")
    found = page.get_by_role("article").filter(has_text=answer)
    expect(found).to_have_count(before + 1)
    return found.last


if __name__ == "__main__":
    sys.exit(main())
