"""/sessions transactions as it is typed and pressed, and its view at Slack's limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.errors import InputError
from bot.sessions.model import LastStatement, Operator, Transaction
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.transactions import OpenTransaction, Transactions
from bot.sessions.waits.graph import Prepared
from bot.slack.arguments.normalization import normalize
from bot.slack.views import transactions as view
from commands import transactions
from sandbox.slack.rules import check_message
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like
from tests.support.slack_person import buttons_of, options_of, table_of, text_of
from tests.support.stage import Stage, full_text, session_id


def test_the_oldest_open_transaction_comes_first_and_its_session_is_closed_from_there(stage: Stage) -> None:
    oldest, second = stage.connect(database="depot"), stage.connect(database="depot")
    for connection, sku in ((oldest, 1), (second, 2)):
        connection.begin()
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE stock SET quantity = 424200473 WHERE sku = {sku}")
    waiter = stage.runs("UPDATE stock SET quantity = 424200474 WHERE sku = 1", database="depot")
    stage.wait_until(lambda: stage.row(waiter.id).get("RETRY_INFO") == -6005, "the lock to be waited for")
    head = session_id(oldest)

    found = stage.asks(stage.alice, "/sessions trx", f"{head}: teller from")
    header, first, *rest = table_of(found)
    told = dict(zip(header, first, strict=True))
    assert told["Session ID"] == str(head)
    assert (told["User"], told["Database Name"], told["State"], told["Holds up"]) == ("teller", "depot", "ACTIVE", "1")
    assert told["Changed"].endswith(" B")
    assert told["Age"] != "-" != told["Idle for"]
    running = next(dict(zip(header, row, strict=True)) for row in rest if row[0] == str(waiter.id))
    assert (running["Idle for"], running["SQL"]) == ("-", "UPDATE stock SET quantity = ? WHERE sku = ?")
    assert "4242004" not in full_text(found)  # no port has so many digits
    assert "3 shown of 3 matching · 3 open in all" in text_of(found)
    assert buttons_of(found) == ["Details", "Close Session", "Refresh"]

    idle = stage.asks(stage.alice, "/sessions transactions idle age>10ms user=teller limit=1", "page 1 of 2")
    assert [row[0] for row in table_of(idle)[1:]] == [str(head)]
    stage.alice.press(idle, "▶")
    stage.alice.wait_for_change(idle, "page 2 of 2")
    assert stage.asks(stage.alice, "/sessions transactions age>1h", "No open transaction fits that. 3 are open in all.")

    (option,) = (one for one in options_of(found, "Pick sessions") if one.startswith(f"{head} · teller · holds up 1"))
    stage.alice.choose(found, "Pick sessions", [option])
    card = stage.presses(stage.alice, found, "Close Session", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert waiter.ended() == 0
    second.rollback()
    stage.alice.press(found, "Refresh")
    stage.alice.wait_for_change(found, "No transaction is open that you may see.")


def test_whoever_may_see_nothing_is_told_so_and_help_has_its_examples(stage: Stage) -> None:
    stage.asks(stage.gus, "/sessions transactions", "You may not see sessions")
    assert stage.asks(stage.alice, "/sessions transactions help", "/sessions transactions age>1m idle")["ephemeral"]
    private = stage.asks(stage.alice, "/sessions transactions idel private", "No transaction is open")
    assert private["ephemeral"]
    assert "“idel” was read as idle." in text_of(private)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("orders", "Transactions are not searched by a word alone"),
        ("sql=update", "Transactions are not searched by sql"),
        ("sort=-time", "oldest first"),
        ("age=5m", "Compare a time with > or <"),
        ("age>soon", "is not a duration"),
        ("age>5m age>6m", "age is given twice"),
        ("idle active-only", "exclude each other"),
        ("colour=red", "There is no key “colour”"),
        ("user>app", "user cannot be larger or smaller"),
    ],
)
def test_words_that_make_no_sense_of_transactions_earn_a_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as told:
        transactions.parse(normalize(typed))
    assert told.value.example.startswith("/sessions")


def test_what_is_understood_is_written_in_words_that_mean_the_same() -> None:
    asked = transactions.parse(normalize("idle age > 5 minutes age<2h on=prod tenant=shop user=app page=2 limit=5"))
    assert asked.age == ((Operator.ABOVE, 300.0), (Operator.BELOW, 7200.0))
    assert asked.words == "age>5m age<2h on=prod tenant=shop user=app idle limit=5 page=2"
    assert transactions.parse(asked.words) == asked


def page(*rows: OpenTransaction, as_text: bool = False) -> view.Page:
    found = Transactions("prod", datetime(2026, 11, 21, 3, 0, tzinfo=UTC), rows)
    return view.Page(found, rows, len(rows), 1, 50, None, dict.fromkeys((0, 1, 2), "source=prod"), as_text=as_text)


def test_what_ran_last_and_what_has_no_session_is_told_and_fifty_rows_fit() -> None:
    begun = Transaction(7, "ACTIVE", age=300.0, rows_changed=104_000)
    idle = like(EXAMPLE, command="Sleep", state="SLEEP", statement=None, time=252.0)
    idle = replace(idle, transaction=begun, last_statement=LastStatement(Statement.of("UPDATE t SET n = 4242"), 250.0))
    rows = [OpenTransaction(replace(idle, id=number), begun, "shop") for number in range(100, 148)]
    rows += [
        OpenTransaction(Prepared(begun, "shop", "'order-17'"), begun, "shop"),
        OpenTransaction(None, begun, "shop", 7),
    ]
    for as_text in (False, True):
        message = view.transactions(page(*rows, as_text=as_text), (), disclosure=Disclosure.DIGEST)
        for blocks in (message.payload(), message.fallback_payload() or message.payload()):
            check_message({"text": message.text, "blocks": blocks})
        assert "4242" not in str(message.payload())
    few = view.transactions(page(*rows[-3:]), (), disclosure=Disclosure.DIGEST)
    session, prepared, none = table_of({"blocks": few.payload()})[1:]
    assert session[1:3] == ["250 s ago: UPDATE t SET n = ?", "app"]
    assert "104,000 rows" in session
    assert prepared[0] == "prepared XA 'order-17'"
    assert none[0] == "none listed (server session 7)"
    assert "open for 300 s, idle for 252 s" in few.text
