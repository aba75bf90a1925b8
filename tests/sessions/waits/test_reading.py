"""The ends of waits as servers name them, and the sessions that they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.sessions.model import LastStatement, Session, Transaction
from bot.sessions.statement import Statement
from bot.sessions.waits.reading import Ends, Known, Party
from tests.sessions.examples import EXAMPLE


def session(number: int, transaction: int | None, **more: object) -> Session:
    begun = Transaction(transaction, "ACTIVE") if transaction is not None else None
    return replace(EXAMPLE, id=number, transaction=begun, **{"tenant": "shop", **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("party", "sessions", "chosen"),
    [
        (Party(5, 7), [session(5, 7), session(6, 8)], 0),
        (Party(5, 7), [session(5, 8), session(6, 7)], 1),
        (Party(5, 7), [session(5, 8)], None),
        (Party(5, 7), [session(5, None)], None),
        (Party(5, 7), [session(5, None, transaction_known=False)], 0),
        (Party(5), [session(5, 7, server="10.0.0.1:2881"), session(5, 8, server="10.0.0.2:2881")], None),
        (Party(5, server="10.0.0.2:2881"), [session(5, 7, server="a:1"), session(5, 8, server="10.0.0.2:2881")], 1),
        (Party(5, 7), [session(5, 7, server="10.0.0.1:2881"), session(5, 8, server="10.0.0.2:2881")], 0),
        (Party(5, 7, "shop"), [session(5, 7, tenant="billing"), session(6, 7)], 1),
        (Party(5, 7), [session(9, 7, master_session_id=6), session(6, 7)], 1),
        (Party(77, 7), [session(6, 7), session(77, 8)], 0),
        (Party(), [session(5, 7)], None),
    ],
    ids=[
        "its id and its transaction",
        "its transaction, not an id that another one has",
        "an id whose transaction is another one",
        "an id whose transaction has ended",
        "an id where the list tells no transactions",
        "an id that two servers have",
        "such an id with its server",
        "such an id with its transaction",
        "another tenant's transaction of that number",
        "not whoever does a part of its work on another server",
        "a client that the view knows by the server's own id",
        "nobody",
    ],
)
def test_an_end_of_a_wait_is_the_session_that_fits_all_that_names_it(
    party: Party, sessions: list[Session], chosen: int | None
) -> None:
    assert Ends(sessions).session_of(party) == (sessions[chosen] if chosen is not None else None)


def test_what_is_known_beside_the_list_is_added_and_what_the_list_tells_stands() -> None:
    ends = Ends([session(5, 7), session(6, None)])
    last = LastStatement(Statement.of("COMMIT"), 3.0)
    ends.learn(
        [
            Known(Party(5, 7), Transaction(7, "EXPLICIT_ACTIVE", age=60.0, bytes_changed=40)),
            Known(Party(5), last_statement=last),
            Known(Party(6), Transaction(9, "EXPLICIT_ACTIVE", age=60.0)),
            Known(Party(4), last_statement=last),
        ]
    )
    known, other = ends.session_of(Party(5, 7)), ends.session_of(Party(6))
    assert known is not None
    assert known.transaction == Transaction(7, "ACTIVE", age=60.0, bytes_changed=40)
    assert known.last_statement == last
    assert other == session(6, None)
