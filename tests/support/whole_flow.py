"""Everything that people do with the bot, once: list, show, count, read variables, close a query and a session."""

from __future__ import annotations

from tests.support.slack_person import table_of, text_of
from tests.support.stage import Stage, session_id

# A session runs one with another emoji, which some collations take for the same.
IN_NONE = ("user=😀", "user==😀", "user=teller sql=𠮷野家", "user=teller sql=😀", "host==😀", "user=teller 😀")
IN_ALL = ("user=teller", "user=teller db!=other sql!=update", "user!=𠮷 host!=😀 sql!=𠮷野家", "teller")


def whole_flow(stage: Stage) -> None:
    """Do it on a stage whose bot works; each answer is what it says of these two sessions."""
    idle = session_id(stage.connect())
    report = stage.runs("SELECT SLEEP(600), 'emoji 😃'", database="depot")
    for question in IN_ALL:
        assert {idle, report.id} <= listed(stage, question), question
    assert listed(stage, "user==teller active-only sql=sleep( db=depot") == {report.id}
    assert listed(stage, "user=teller sql=😃") == {report.id}
    for question in IN_NONE:
        stage.asks(stage.alice, f"/sessions {question}", "No session fits that")
    stage.asks(stage.alice, "/kill-session where user=😀 query", "fits that; there are")
    shown = text_of(stage.asks(stage.alice, f"/sessions show {report.id}", f"Session {report.id} on demo"))
    assert "SELECT SLEEP(?), ?" in shown
    counted = stage.asks(stage.alice, "/sessions stats user=teller by=user", "Session statistics of demo")
    assert table_of(counted)[1:] == [["teller", "1", "2"]]
    variables = table_of(stage.asks(stage.alice, "/sessions vars like=timeout", "Variables of demo"))
    assert {"connect_timeout", "interactive_timeout", "wait_timeout"} <= {row[0] for row in variables}
    card = stage.card_of(f"{report.id} query")
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "✅ query closed")
    report.ended()
    card = stage.card_of(str(idle))
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert not stage.row(idle)
    stage.asks(stage.alice, "/sessions audit here", f"{report.id}")


def listed(stage: Stage, question: str) -> set[int]:
    """The ids that a list shows."""
    answer = stage.asks(stage.alice, f"/sessions {question}", "Sessions on demo")
    return {int(row[0]) for row in table_of(answer)[1:]}
