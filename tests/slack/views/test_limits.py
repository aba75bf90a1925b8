"""Views stay within Slack's sums when every part of them is as long as it can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.access import Person
from bot.errors import InputError
from bot.sessions.model import MAX_LIMIT, SessionPage
from bot.sessions.statement import Disclosure, Statement
from bot.slack.arguments.session_query import parse
from bot.slack.delivery.message import Message
from bot.slack.session_reference import Asker
from bot.slack.views import notices, session_list, sql_modal
from sandbox.slack.rules import check_message, check_view
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like

ASKER = Asker(Person("U" + "W" * 20, "T" + "W" * 20), "0123456789ab")


def check(message: Message) -> None:
    for blocks in (message.payload(), message.fallback_payload()):
        if blocks is not None:
            check_message({"text": message.text, "blocks": blocks})


@pytest.mark.parametrize("shown", ["", "text"])
@pytest.mark.parametrize("disclosure", Disclosure)
def test_the_longest_question_with_the_widest_rows_of_many_tenants_fits(shown: str, disclosure: Disclosure) -> None:
    wide = "W" * 300
    sessions = tuple(
        like(
            EXAMPLE,
            id=4_294_967_000 + number,
            tenant=f"{number}{wide}",
            user=wide,
            origin=wide,
            database=wide,
            command=wide,
            state=wide,
            server="255.255.255.255:65535",
            proxy=wide,
            statement=Statement.of(wide * 3),
            time=1e9,
        )
        for number in range(MAX_LIMIT)
    )
    query = parse(f'source=prod sql="{"x" * 950}" limit={MAX_LIMIT} page=2 {shown}').query
    page = SessionPage("prod", sessions, 999_999, 999_999, 999_999, datetime.now(UTC), query)
    check(session_list.session_list(page, ["“database” was read as db."] * 20, disclosure=disclosure, asker=ASKER))


@pytest.mark.parametrize(
    "sql",
    [
        ("\x80" * 500 + "\n") * 57,
        ("x\n" + "y" * 3000) * 21,
        "\n" * 65_000,
        "\u202e" * 20_000,
    ],
    ids=["lines of control characters", "short and long lines", "line breaks", "direction marks"],
)
def test_the_modal_takes_any_statement_that_the_kernel_shows(sql: str) -> None:
    session = replace(EXAMPLE, statement=Statement.of(sql))
    check_view(sql_modal.statement(session, sql_modal.SqlText.of(session, Disclosure.ALL_BUT_PASSWORDS)))


def test_a_refusal_of_invisible_characters_fits_into_a_message() -> None:
    invisible = "\u202e" * 1000
    check(notices.failure(InputError(invisible * 3, spot=invisible, example=invisible), "id", invisible))
