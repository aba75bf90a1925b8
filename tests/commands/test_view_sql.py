"""View SQL: who sees literals, and what happens to statements that no window takes."""

from __future__ import annotations

import sqlite3

from tests.support.slack_person import Person, text_of
from tests.support.slack_text import Json, tells
from tests.support.stage import Stage


def views_recorded(stage: Stage, session: int) -> int:
    """Count the looks at the literals of a session that are in the record."""
    with sqlite3.connect(stage.bot.config.parent / "store.db") as store:
        rows = store.execute("SELECT * FROM audit WHERE event = 'view sql'").fetchall()
    store.close()
    return sum(str(session) in str(row) for row in rows)


def looks(stage: Stage, person: Person, session: int, says: str = "Trace ID") -> Json:
    """Press View SQL on the card of a session and return the window once it says that."""
    card = stage.asks(person, f"/sessions show {session} private", f"Session {session} on demo")
    person.press(card, "View SQL")
    modal = person.wait_for_modal(says)
    person.closes_modal()
    return modal


def test_whoever_may_close_sees_the_literals_and_that_is_recorded(wide_stage: Stage) -> None:
    report = wide_stage.runs("SELECT SLEEP(60), 'card 4711', 5 AS amount")
    said = text_of(looks(wide_stage, wide_stage.alice, report.id))
    assert "'card 4711'" in said
    assert "literal" not in said
    assert views_recorded(wide_stage, report.id) == 1


def test_whoever_may_only_look_sees_the_whole_statement_without_literals_and_why(wide_stage: Stage) -> None:
    columns = ", ".join(f"{number} AS column_{number}" for number in range(300))
    report = wide_stage.runs(f"SELECT SLEEP(60), {columns}, 'card 4711' AS last_column")
    modal = looks(wide_stage, wide_stage.bob, report.id)
    said = text_of(modal)
    assert "? AS last_column" in said
    assert not tells(modal, 4711)
    assert "Literals are shown as “?”. On demo, only people who may close this session can see them." in said
    assert views_recorded(wide_stage, report.id) == 0


# Each of these is two bytes to the server and seven in a window's JSON: more than Slack takes.
LONG = "SELECT SLEEP(60), '" + "\x80" * 31_000 + " the end'"


def test_a_statement_too_long_for_a_window_says_so_where_slack_refuses_the_file(wide_stage: Stage) -> None:
    report = wide_stage.runs(LONG)
    wide_stage.slack.faults.fail_next("conversations.open", error="missing_scope")
    said = text_of(
        looks(wide_stage, wide_stage.alice, report.id, "Slack did not take the file (the app lacks a scope)")
    )
    assert "Slack cannot show more here: these are the first" in said
    assert "add the scopes of the manifest to the Slack app and install it anew" in said


def test_a_statement_too_long_for_a_window_goes_whole_to_the_presser_alone_as_a_file(wide_stage: Stage) -> None:
    wide_stage.slack.calls.clear()
    report = wide_stage.runs(LONG)
    said = text_of(looks(wide_stage, wide_stage.alice, report.id))
    assert "Slack cannot show more here: these are the first" in said
    assert "The whole statement comes to you as a file" in said
    wide_stage.slack.wait_for(wide_stage.alice.direct_messages, what="the file")
    calls = [call.method for call in wide_stage.slack.calls]
    assert calls.index("views.update") < calls.index("files.getUploadURLExternal"), "the window waits for no file"
    [message] = wide_stage.alice.direct_messages()
    [file] = message["files"]
    assert file["title"] == f"SQL of {report.id}"
    assert file["text"].endswith(" the end'")
    assert file["text"].count("\\u0080") == 31_000, "what cannot be seen is written out"
    assert wide_stage.bob.direct_messages() == []
    assert not any(message.get("files") for message in wide_stage.bob.messages())
