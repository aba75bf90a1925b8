"""The longest queries that can be typed are still echoed and carried by buttons."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.access import Person
from bot.sessions.model import MAX_LIMIT, SessionPage
from bot.sessions.statement import Disclosure, Statement
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import describe, parse
from bot.slack.session_reference import Asker
from bot.slack.views import session_list
from sandbox.slack.rules import check_message
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like


@pytest.mark.parametrize(
    "typed",
    [
        "user=a" + ",<" * 470,
        "user=a" + ",!=" * 300,
        'user="' + "\x01" * 960 + '"',
        "user='" + "\"''" * 310 + "'",
    ],
    ids=["signs in a list", "pairs of signs in a list", "control characters", "quotation marks"],
)
def test_a_query_of_signs_fits_its_buttons_and_one_message(typed: str) -> None:
    query = parse(normalize(f"{typed} limit={MAX_LIMIT} page=2")).query
    assert parse(describe(query)).query == query
    wide = "W" * 300
    rows = tuple(
        like(EXAMPLE, id=4_294_967_000 + number, user=wide, origin=wide, database=wide, statement=Statement.of(wide))
        for number in range(MAX_LIMIT)
    )
    page = SessionPage("prod", rows, 999_999, 999_999, 999_999, datetime.now(UTC), query)
    asker = Asker(Person("U" + "W" * 20, "T" + "W" * 20), "0123456789ab")
    message = session_list.session_list(page, (), disclosure=Disclosure.ALL_BUT_PASSWORDS, asker=asker)
    for blocks in (message.payload(), message.fallback_payload()):
        check_message({"text": message.text, "blocks": blocks})
