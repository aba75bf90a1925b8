"""Nobody learns a literal or a password by searching, counting, sorting or exporting: the flows of who may only look.

Alice may close, Bob may only look.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.slack_person import Person, table_of, text_of
from tests.support.slack_text import Json, tells
from tests.support.stage import ASKS, Stage, session_id, staged

ACCESS = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["view"]
"""


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage of its own: what is on its record is what these tests did."""
    with staged(oceanbase, tmp_path_factory.mktemp("literals"), access=ACCESS) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage, and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def matching(answer: Json) -> int:
    """How many sessions an answer says to fit its filter."""
    found = re.search(r"shown of ([\d,]+) matching", text_of(answer))
    assert found is not None, text_of(answer)
    return int(found[1].replace(",", ""))


def counted(stage: Stage, person: Person, words: str) -> int:
    """Ask for a list and return how many fit."""
    return matching(stage.asks(person, f"/sessions {words}", "matching"))


def ids(answer: Json) -> list[int]:
    """The sessions of a list in their order."""
    return [int(row[0]) for row in table_of(answer)[1:]]


def test_who_may_only_look_finds_no_literal_and_who_may_close_does(stage: Stage) -> None:
    first, other = stage.runs("SELECT SLEEP(60), 'card 4711'"), stage.runs("SELECT SLEEP(60), 'card 0815'")
    text = "SELECT SLEEP(60), 'card 4711'"
    for words in ("sql=4711", 'user=teller "card 4711"', f'sql="{text}"', f'sql=="{text}"', "sql=4711,else"):
        assert counted(stage, stage.alice, words) == 1, words
        assert counted(stage, stage.bob, words) == 0, words
    for words in ("user=teller sql!=4711", f'user=teller sql!="{text}"'):
        assert counted(stage, stage.alice, words) == 1, words
        assert counted(stage, stage.bob, words) == 2, words
    shown = 'sql="sleep(?), ?"'
    assert sorted(ids(stage.asks(stage.bob, f"/sessions {shown}", "matching"))) == sorted([first.id, other.id])
    assert counted(stage, stage.bob, "sql=SLEEP,nothing") == 2
    assert counted(stage, stage.bob, 'sql=="SELECT SLEEP(?), ?"') == 2
    assert counted(stage, stage.bob, "user=teller sleep") == 2, "a word anywhere, in what is shown"
    assert counted(stage, stage.bob, "teller") == 2, "or in any other column"


def test_what_who_only_looks_searches_in_is_said(stage: Stage) -> None:
    stage.runs("SELECT SLEEP(60), 'card 4711'")
    told = "SQL is searched as it is shown to whoever may not close all of this: each literal is ?."
    assert told in text_of(stage.asks(stage.bob, "/sessions sql=sleep", "matching"))
    assert told not in text_of(stage.asks(stage.alice, "/sessions sql=sleep", "matching"))
    assert told not in text_of(stage.asks(stage.bob, "/sessions user=teller", "matching"))


def test_the_order_of_sessions_tells_who_only_looks_nothing_of_literals(stage: Stage) -> None:
    running = [stage.runs(f"SELECT SLEEP(60), {literal}").id for literal in ("5", "9", "1")]
    idle = session_id(stage.connect())
    stage.runs("DO SLEEP(60)")
    asked = "/sessions user=teller sort=sql"
    by_text = ids(stage.asks(stage.alice, asked, "matching"))
    assert [one for one in by_text if one in running] == [running[2], running[0], running[1]]
    by_digest = ids(stage.asks(stage.bob, asked, "matching"))
    assert by_digest[0] == idle
    assert [one for one in by_digest if one in running] == sorted(running), "of one digest, so by their ids"
    backwards = ids(stage.asks(stage.bob, "/sessions user=teller sort=-sql", "matching"))
    assert backwards[-1] == idle
    assert backwards[:3] == [one for one in backwards if one in running]
    pages = [ids(stage.asks(stage.bob, f"{asked} limit=2 page={page}", f"page {page} of 3")) for page in (1, 2, 3)]
    assert [one for page in pages for one in page] == by_digest


def test_statistics_count_for_who_only_looks_by_what_is_shown(stage: Stage) -> None:
    for literal in ("4711", "0815"):
        stage.runs(f"SELECT SLEEP(60), 'card {literal}'")

    def total(person: Person, words: str) -> str:
        return text_of(stage.asks(person, f"/sessions stats {words}", "Total Sessions"))

    assert "Total Sessions 1" in total(stage.alice, "user=teller sql=4711")
    assert "Total Sessions 0" in total(stage.bob, "user=teller sql=4711")
    assert "Total Sessions 2" in total(stage.bob, "user=teller sql=sleep by=sql-id")


def refreshed(presser: Person, answer: Json) -> Json:
    """Press Refresh once the answer is a second old, so that another one is told from it."""
    time.sleep(1.1)
    before = text_of(answer)
    presser.press(answer, "Refresh")
    return presser.wait_for_change(answer, lambda now: text_of(now) != before)


def test_a_public_list_keeps_its_askers_sight_whoever_presses(stage: Stage) -> None:
    stage.runs("SELECT SLEEP(60), 'card 4711'")
    of_bob = stage.asks(stage.bob, "/sessions sql=4711", "0 shown of 0 matching")
    assert matching(refreshed(stage.alice, of_bob)) == 0
    of_alice = stage.asks(stage.alice, "/sessions sql=4711", "1 shown of 1 matching")
    assert matching(refreshed(stage.bob, of_alice)) == 1


def guessable(text: str) -> str:
    """What OceanBase has for the SQL ID of a statement without parameters."""
    return hashlib.md5(text.encode()).hexdigest().upper()


def nothing_to_who_only_looks(stage: Stage, running: int, sql_id: str) -> None:
    assert counted(stage, stage.alice, f"sql-id={sql_id}") == 1
    for words in (f"sql-id={sql_id}", f"sql-id=={sql_id}", sql_id, sql_id[:20]):
        assert counted(stage, stage.bob, words) == 0, words
    for shown in (
        stage.asks(stage.bob, f"/sessions show {running}", f"Session {running} on demo"),
        stage.asks(stage.alice, f"/sessions show {running}", f"Session {running} on demo"),
        stage.asks(stage.bob, "/sessions stats by=sql-id", "Total Sessions"),
        stage.asks(stage.alice, "/sessions stats by=sql-id", "Total Sessions"),
    ):
        assert sql_id not in json.dumps(shown), "a public message has what everybody may see"
    card = stage.asks(stage.alice, f"/kill-session {running} query", ASKS)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "closed")
    for table in ("audit", "closing_targets"):
        assert sql_id not in str(stage.stored(f"SELECT * FROM {table}"))
    assert sql_id not in stage.bot.log.read_text()


@pytest.mark.parametrize("text", ["SET @pin = SLEEP(60) + 4711", "\n SET @pin = SLEEP(60) + 4711;\n", "DO SLEEP(60)"])
def test_an_id_that_is_the_hash_of_the_text_is_nothing_to_who_only_looks(stage: Stage, text: str) -> None:
    running, sql_id = stage.runs(text), guessable(text.strip())
    assert stage.row(running.id)["SQL_ID"] == sql_id, "as the kernel has it"
    nothing_to_who_only_looks(stage, running.id, sql_id)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT SLEEP(60), 'a' LIKE 'pin {}%' ESCAPE '!'",
        "SELECT SLEEP(60) AS n ORDER BY FIELD(n, '{}')",
        "SELECT SLEEP(60), DATE_FORMAT(NOW(), '{}')",
        "SELECT SLEEP(60), JSON_EXTRACT('[]', '$.pin{}')",
        "SELECT /*! SLEEP(60) + {} */",
    ],
)
def test_an_id_in_which_the_kernel_leaves_literals_is_nothing_to_who_only_looks(stage: Stage, text: str) -> None:
    running, other = stage.runs(text.format("4711")), stage.runs(text.format("4712"))
    sql_id = stage.row(running.id)["SQL_ID"]
    assert sql_id != stage.row(other.id)["SQL_ID"], "the kernel tells them apart by what is hidden"
    nothing_to_who_only_looks(stage, running.id, sql_id)


def test_a_password_is_found_by_nobody(stage: Stage) -> None:
    text = "SELECT SLEEP(60), PASSWORD('geheim'), 'card 4711'"
    running, other = stage.runs(text), stage.runs("SELECT SLEEP(60), 'geheim'")
    assert ids(stage.asks(stage.alice, "/sessions user=teller sql=geheim", "matching")) == [other.id]
    assert ids(stage.asks(stage.alice, "/sessions user=teller geheim", "matching")) == [other.id]
    assert ids(stage.asks(stage.alice, "/sessions user=teller sql!=geheim", "matching")) == [running.id]
    assert ids(stage.asks(stage.alice, "/sessions user=teller sql=4711", "matching")) == [running.id]
    assert counted(stage, stage.alice, f'sql=="{text}"') == 0


def test_an_id_that_would_tell_a_password_is_nothing_to_anybody(stage: Stage) -> None:
    text = "SET @password = 'geheim', @pin = SLEEP(60)"
    stage.runs(text)
    assert counted(stage, stage.alice, f"sql-id={guessable(text)}") == 0
    assert counted(stage, stage.alice, "sql=@password") == 1


def test_a_list_of_groups_still_names_statements_with_parameters(stage: Stage) -> None:
    running = stage.runs("SELECT SLEEP(60), 'card 4711'")
    sql_id = stage.row(running.id)["SQL_ID"]
    counted_by = stage.asks(stage.bob, "/sessions stats by=sql-id user=teller", "Total Sessions")
    assert sql_id in json.dumps(counted_by)
    assert counted(stage, stage.bob, f"sql-id={sql_id}") == 1


URL = "jdbc:mysql://db/shop?user=app&password=geheim1"


def exported(stage: Stage, person: Person) -> list[dict[str, str]]:
    """Ask for the record as a file and read it."""
    before = len(person.direct_messages())
    stage.asks(person, "/sessions audit csv", "by direct message")
    message = person.direct_messages()[before]
    return list(csv.DictReader(io.StringIO(message["files"][0]["text"])))


def closes(stage: Stage) -> int:
    """Alice closes a session that runs a statement with a literal and a password, and tells of itself with another."""
    connection = stage.connect()
    with connection.cursor() as cursor:
        cursor.execute("CALL dbms_application_info.set_client_info(%s)", (URL,))
        cursor.execute("CALL dbms_application_info.set_module(%s, %s)", ("batch", "token=geheim2"))
    running = stage.starts(connection, "SELECT SLEEP(60), 'card 4711', PASSWORD('geheim3')")
    card = stage.asks(stage.alice, f"/kill-session {running.id} query", ASKS)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "closed")
    return running.id


def test_the_exported_record_has_digests_for_who_only_looks_and_secrets_for_nobody(stage: Stage) -> None:
    number = closes(stage)
    rows = {person.id: exported(stage, person) for person in (stage.alice, stage.bob)}
    for person, those in rows.items():
        assert not re.search("geheim[123]", str(those)), person
        (target,) = json.loads([row for row in those if row["event"] == "request"][-1]["details"])["targets"]
        assert target["id"] == number
        assert target["client_info"] == "jdbc:mysql://db/shop?user=app&password=***"
        assert target["sql"].startswith("SELECT SLEEP(")
    assert "card 4711" in str(rows[stage.alice.id])
    assert not tells(rows[stage.bob.id], 4711)
    chain = [hash_ for (hash_,) in stage.stored("SELECT hash FROM audit")]
    assert not any(hash_ in str(rows) for hash_ in chain), "they would tell when a guess at what is hidden is right"
    intent = [row for row in rows[stage.bob.id] if row["event"] == "intent"][-1]
    assert json.loads(intent["details"])["sql"].endswith(str(number)), "what the bot sends itself hides nothing"


def test_whoever_exports_literals_is_on_record(stage: Stage) -> None:
    closes(stage)

    def noted() -> list[str]:
        looks = stage.stored("SELECT person, details FROM audit WHERE event = 'view sql'")
        return [str(person) for person, details in looks if "records" in details]

    before = noted()
    exported(stage, stage.bob)
    assert noted() == before
    exported(stage, stage.alice)
    assert noted() == [*before, stage.alice.id]
    stage.asks(stage.alice, "/sessions audit", "looked at the SQL in")
    assert noted() == [*before, stage.alice.id], "the table has no SQL"


def test_what_an_older_version_has_written_is_masked_as_it_is_read(stage: Stage) -> None:
    closes(stage)
    (details,) = stage.stored("SELECT details FROM audit WHERE event = 'request' ORDER BY id DESC LIMIT 1")[0]
    written = json.loads(details)
    written["targets"][0] |= {
        "sql": "SET PASSWORD = 'geheim4', @pin = 4712084731",
        "sql_id": guessable("SET PASSWORD = 'geheim4', @pin = 4712084731"),
        "client_info": "password=geheim5",
    }
    stage.change_store(
        "UPDATE audit SET details = :details WHERE id = (SELECT MAX(id) FROM audit WHERE event = 'request')",
        details=json.dumps(written),
    )
    for person in (stage.alice, stage.bob):
        said = str(exported(stage, person))
        assert "geheim" not in said
        assert ("4712084731" in said) is (person is stage.alice)
        assert (guessable("SET PASSWORD = 'geheim4', @pin = 4712084731") in said) is False
