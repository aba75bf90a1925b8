"""A public message keeps its asker's view: whoever presses adds no rows, takes none away, and is told why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slack_sdk import WebClient

from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.operations.test_reload import reload
from tests.support.cluster import BOT, Cluster
from tests.support.slack_person import Person, options_of, table_of, text_of
from tests.support.slack_text import Json, is_progress
from tests.support.stage import APP_PASSWORD, ASKS, MariaDBStage, full_text, session_id, staged_as

# Alice sees every tenant, Gus two of them, Bob one.
ACCESS = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U03GUS"]
may = ["view"]
tenants = ["shop", "billing"]

[[access]]
who = ["U02BOB"]
may = ["view", "close"]
tenants = ["shop"]
"""
NOT_ALL = "You may not see all that this is about, so the message stays as it is."
NOT_YOURS = "You may not see this session."


@pytest.fixture(scope="module")
def standing(
    mariadb: EmbeddedMariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, MariaDBStage]]:
    folder = tmp_path_factory.mktemp("bot")
    with (
        Cluster(mariadb) as cluster,
        staged_as(MariaDBStage, mariadb, folder, access=ACCESS, user=BOT, password=APP_PASSWORD) as stage,
    ):
        yield cluster, stage


@pytest.fixture
def cluster(standing: tuple[Cluster, MariaDBStage]) -> Iterator[Cluster]:
    yield standing[0]
    standing[0].tidy()


@pytest.fixture
def stage(standing: tuple[Cluster, MariaDBStage]) -> Iterator[MariaDBStage]:
    """Give the standing stage; a test may change the configuration."""
    stage = standing[1]
    before = stage.bot.config.read_text()
    yield stage
    if stage.bot.config.read_text() != before:
        reload(stage, before)
    stage.tidy()


def tenants_of(answer: Json) -> set[str]:
    """The tenants in a table of sessions: its column, or where one is shown alone, that of its users."""
    header, *rows = table_of(answer) or [[]]
    return {row[header.index("Tenant" if "Tenant" in header else "User")] for row in rows}


def refused(stage: MariaDBStage, person: Person, place: Json, button: str, sentence: str) -> str:
    """Press, be told so alone, and find the message as it was; return what was told."""
    before = stage.alice.now(place)
    told = stage.presses(person, place, button, sentence)
    assert told["ephemeral"]
    assert stage.alice.now(place) == before
    return text_of(told)


def picks(person: Person, listed: Json) -> None:
    person.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])


def opens(person: Person, counted: Json, option: str, answer: str) -> Json:
    """Choose in the menu of statistics and return the one message that it brings."""
    before = [message["key"] for message in person.messages()]
    person.choose(counted, "statistics.open", [option])
    opened = person.wait_for_message(lambda one: one["key"] not in before and answer in text_of(one))
    new = [one for one in person.messages() if one["key"] not in before and not is_progress(one)]
    assert [one["key"] for one in new] == [opened["key"]]
    return opened


def test_who_sees_less_does_not_rewrite_a_card_and_it_is_not_called_ended(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    client = cluster.connect("report@billing")
    number = session_id(client)
    card = stage.asks(stage.alice, f"/sessions show {number}", f"Session {number} on demo")
    told = refused(stage, stage.bob, card, "Refresh", NOT_YOURS)
    assert "/sessions lists those that you may see." in told
    cluster.tidy()
    assert refused(stage, stage.bob, card, "Refresh", NOT_YOURS).split("Error id")[0] == told.split("Error id")[0]
    stage.gus.press(card, "Refresh")
    stage.alice.wait_for_change(card, "This session has ended.")


@pytest.mark.parametrize("button", ["Refresh", "▶", "Active only"])
def test_who_sees_less_does_not_rewrite_a_list(cluster: Cluster, stage: MariaDBStage, button: str) -> None:
    for name in ("report@billing", "report@billing", "app@shop"):
        cluster.connect(name)
    for words in ("limit=1", "tenant=billing limit=1", "tenant=billing,shop limit=1", "tenant!=sys limit=1"):
        listed = stage.asks(stage.alice, f"/sessions {words}", "page 1 of")
        told = refused(stage, stage.bob, listed, button, NOT_ALL)
        assert "Run the command yourself to see what you may." in told
        for name in ("billing", "shop", "demo"):
            assert name not in told


LOCKS = """
CREATE TABLE oceanbase.`GV$OB_LOCKS` (
  TENANT_ID BIGINT, TRANS_ID BIGINT, SESSION_ID BIGINT, TYPE VARCHAR(9), ID1 BIGINT, ID2 BIGINT, ID3 VARCHAR(64),
  CTIME BIGINT, BLOCK BIGINT);
INSERT INTO oceanbase.`GV$OB_LOCKS` VALUES
  (NULL, 12, 3221490012, 'TR', 11, 3221490011, '1-{"INT":1}', 5000000, 1),
  (NULL, 22, 3221490022, 'TR', 21, 3221490021, '2-{"INT":1}', 5000000, 1)"""


def test_of_waits_everybody_sees_their_own_tenants_and_presses_add_and_take_nothing(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    cluster.run(*LOCKS.split(";\n"))
    for number, tenant in ((11, "shop"), (21, "billing")):
        holding = {"TENANT": tenant, "USER": f"{tenant}-app", "TRANS_STATE": "ACTIVE"}
        waiting = {"COMMAND": "Query", "STATE": "ACTIVE", "INFO": "UPDATE t", "RETRY_INFO": -6005}
        cluster.dress_up(ID=3221490000 + number, TRANS_ID=number, **holding)
        cluster.dress_up(ID=3221490001 + number, TRANS_ID=number + 1, **holding, **waiting)
    asks_anew = '[data_sources.demo]\nconnection_max_age = "59s"'
    reload(stage, stage.bot.config.read_text().replace("[data_sources.demo]", asks_anew))

    all_ = stage.asks(stage.alice, "/sessions locks", "Session 3221490011 holds up 1 session")
    assert "Session 3221490021 holds up 1 session" in text_of(all_)
    refused(stage, stage.bob, all_, "Refresh", NOT_ALL)
    shops = stage.asks(stage.bob, "/sessions locks", "Session 3221490011 holds up 1 session")
    stage.alice.press(shops, "Refresh")
    stage.asks(stage.bob, "/sessions locks tenant=billing", "You may not see sessions of tenant billing")
    listed = stage.asks(stage.alice, "/sessions active-only", "🔒")
    opened = stage.presses(stage.bob, listed, "Who blocks?", "Locks on demo")
    one = stage.asks(stage.alice, "/sessions locks tenant=shop", "Session 3221490011 holds up 1 session")
    for place in (stage.alice.now(shops) or {}, opened, one):
        assert not [told for told in ("billing", "322149002", "that you may not see") if told in full_text(place)]


def test_a_button_of_triage_means_the_sessions_that_its_asker_was_told_of(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    runs = {"COMMAND": "Query", "STATE": "ACTIVE", "INFO": "SELECT slow", "TIME": 9, "TOTAL_TIME": 9}
    for number in range(10):
        cluster.dress_up(ID=3221491000 + number, TENANT="shop", USER="app", **runs)
    stage.until_read_anew()
    shops = stage.asks(stage.bob, "/sessions triage", "10 sessions run the same statement")
    for number in range(10):
        cluster.dress_up(ID=3221492000 + number, TENANT="billing", USER="app", **runs)
    stage.until_read_anew()
    card = text_of(stage.presses(stage.alice, shops, "Close these 10 Queries", ASKS))
    assert "3221491009" in card
    assert "3221492" not in card, "of that tenant its asker was told nothing"
    all_ = stage.asks(stage.alice, "/sessions triage", "20 sessions run the same statement")
    stage.presses(stage.gus, all_, "Close these 20 Queries", "You may not close")
    cluster.run("DELETE FROM oceanbase.extra_sessions WHERE TENANT = 'shop'")
    stage.until_read_anew()
    told = text_of(stage.presses(stage.bob, all_, "Close these 20 Queries", "You may not close all sessions that this"))
    assert "any more" not in told, "they are still there"


def test_near_the_limit_of_one_server_idle_ones_of_another_are_not_asked_for(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    cluster.run(
        "CREATE TABLE oceanbase.`GV$SYSSTAT` (CON_ID INT, SVR_IP VARCHAR(46), NAME VARCHAR(64), VALUE INT)",
        "INSERT INTO oceanbase.`GV$SYSSTAT` VALUES (1002, '10.0.0.8', 'max session num', 6), "
        "(1002, '10.0.0.9', 'max session num', 600)",
    )
    try:
        for number in range(10):
            cluster.dress_up(ID=3221493000 + number, TENANT="shop", SVR_IP=f"10.0.0.{8 + number % 2}", TIME=9)
        stage.until_read_anew()
        answer = stage.asks(stage.alice, "/sessions triage", "of which 5 are idle")
        card = text_of(stage.presses(stage.alice, answer, "Close its 5 idle ones", ASKS))
    finally:
        cluster.run("DROP TABLE oceanbase.`GV$SYSSTAT`")
    assert [number for number in range(10) if str(3221493000 + number) in card] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("button", ["Refresh", "By User"])
def test_who_sees_less_does_not_rewrite_statistics(cluster: Cluster, stage: MariaDBStage, button: str) -> None:
    cluster.connect("report@billing")
    cluster.connect("app@shop")
    counted = stage.asks(stage.alice, "/sessions stats by=tenant", "Session statistics of demo")
    assert {row[0] for row in table_of(counted)[1:]} == {"billing", "shop"}
    refused(stage, stage.bob, counted, button, NOT_ALL)


@pytest.mark.parametrize("button", ["Refresh", "▶", "Active only"])
def test_who_sees_more_adds_no_rows_to_a_list(cluster: Cluster, stage: MariaDBStage, button: str) -> None:
    for name in ("report@billing", "app@shop", "app@shop"):
        cluster.connect(name)
    listed = stage.asks(stage.bob, "/sessions limit=1 sort=-user", "1 shown of 2 matching · page 1 of 2 · 2 in all")
    assert tenants_of(listed) == {"app"}
    cluster.connect("app@shop")
    stage.alice.press(listed, button)
    again = stage.alice.wait_for_change(listed, "3 in all")
    assert tenants_of(again) <= {"app"}
    assert "billing" not in text_of(again)
    assert "Seen with the rights of <@U02BOB>" in text_of(again)


def test_who_sees_more_adds_no_rows_to_statistics(cluster: Cluster, stage: MariaDBStage) -> None:
    cluster.connect("report@billing")
    cluster.connect("app@shop")
    counted = stage.asks(stage.bob, "/sessions stats by=tenant", "Session statistics of demo")
    for number, button in enumerate(("Refresh", "By User", "By Tenant"), 2):
        cluster.connect("app@shop")
        stage.alice.press(counted, button)
        again = stage.alice.wait_for_change(counted, f"Total Sessions {number}")
        assert {row[0] for row in table_of(again)[1:]} == {"app" if button == "By User" else "shop"}
        assert "Seen with the rights of <@U02BOB>" in text_of(again)


def test_who_sees_more_refreshes_a_card_which_stays_its_askers(cluster: Cluster, stage: MariaDBStage) -> None:
    client = cluster.connect("app@shop")
    number = session_id(client)
    card = stage.asks(stage.bob, f"/sessions show {number}", "Database Name -")
    client.select_db("shop")
    stage.alice.press(card, "Refresh")
    again = stage.bob.wait_for_change(card, "Database Name shop")
    assert "Seen with the rights of <@U02BOB>" in text_of(again)
    client.close()
    stage.wait_until(lambda: not stage.row(number), "the session's end")
    stage.alice.press(again, "Refresh")
    stage.bob.wait_for_change(card, "This session has ended.")


def test_a_list_of_one_tenant_is_refreshed_by_who_sees_that_tenant_and_counts_no_other(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    for name in ("report@billing", "app@shop"):
        cluster.connect(name)
    listed = stage.asks(stage.alice, "/sessions tenant=shop", "1 matching · 2 in all")
    counted = stage.asks(stage.alice, "/sessions stats tenant==shop by=tenant", "Total Sessions 1")
    cluster.connect("app@shop")
    stage.bob.press(listed, "Refresh")
    again = stage.bob.wait_for_change(listed, "2 shown of 2 matching")
    assert "2 in all" in text_of(again), "without that of billing"
    assert "Seen with the rights of <@U01ALICE>" in text_of(again)
    stage.bob.press(counted, "Refresh")
    stage.bob.wait_for_change(counted, "Total Sessions 2")
    stage.alice.press(again, "Refresh")
    stage.bob.wait_for_change(listed, "3 in all")


def test_details_and_view_sql_go_by_the_pressers_own_rights_and_call_nothing_ended(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    number = session_id(cluster.connect("report@billing"))
    listed = stage.asks(stage.alice, f"/sessions id={number}", "1 matching")
    card = stage.asks(stage.alice, f"/sessions show {number}", f"Session {number} on demo")
    picks(stage.bob, listed)
    refused(stage, stage.bob, listed, "Details", NOT_YOURS)
    for place in (listed, card):
        refused(stage, stage.bob, place, "View SQL", NOT_YOURS)
        assert NOT_YOURS in text_of(stage.bob.wait_for_modal(NOT_YOURS))
        stage.bob.closes_modal()
    picks(stage.gus, listed)
    of_gus = stage.presses(stage.gus, listed, "Details", f"Session {number} on demo")
    assert "Seen with the rights of <@U03GUS>" in text_of(of_gus)


def test_the_menu_of_statistics_opens_what_its_presser_may_see_and_calls_nothing_empty(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    for name in ("app@billing", "app@shop"):
        cluster.connect(name)
    by_tenant = stage.asks(stage.alice, "/sessions stats by=tenant", "Session statistics of demo")
    by_user = stage.asks(stage.alice, "/sessions stats by=user", "Session statistics of demo")
    [billing, shop] = options_of(by_tenant, "Open the list of one Tenant")
    [app] = options_of(by_user, "Open the list of one User")
    assert opens(stage.bob, by_tenant, billing, "You may not see these sessions.")["ephemeral"]
    for place, option in ((by_tenant, shop), (by_user, app)):
        listed = opens(stage.bob, place, option, "Sessions on demo")
        assert "1 in all" in text_of(listed)
        assert "Seen with the rights of <@U02BOB>" in text_of(listed)


def test_a_session_that_has_ended_is_said_to_have_and_who_has_its_id_now_only_to_who_may_see_that(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    cluster.serves("10.0.0.9")
    cluster.dress_up(ID=3221500001, TENANT="shop")
    cards = [stage.asks(stage.alice, "/sessions show 3221500001", "Session 3221500001 on demo") for _ in range(2)]
    listed = stage.asks(stage.alice, "/sessions id=3221500001", "1 matching")
    cluster.run("UPDATE oceanbase.extra_sessions SET TENANT = 'billing'")
    stage.bob.press(cards[0], "Refresh")
    assert "Another session now has its id" not in text_of(stage.bob.wait_for_change(cards[0], "has ended."))
    stage.alice.press(cards[1], "Refresh")
    stage.alice.wait_for_change(cards[1], "Another session now has its id: /sessions show 3221500001")
    picks(stage.bob, listed)
    stage.presses(stage.bob, listed, "Details", "Session 3221500001 has ended since the list was made")


def test_a_command_does_not_tell_whether_a_session_of_another_tenant_exists(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    number = session_id(cluster.connect("report@billing"))
    there = stage.asks(stage.bob, f"/sessions show {number}", "that you may see")
    cluster.tidy()
    gone = stage.asks(stage.bob, f"/sessions show {number}", "that you may see")
    first, second = (text_of(told).split("Error id")[0] for told in (there, gone))
    assert first == second


def test_an_answer_says_whose_view_it_is_where_others_see_it(cluster: Cluster, stage: MariaDBStage) -> None:
    number = session_id(cluster.connect("app@shop"))
    for words, says in (("id=0", "Sessions on demo"), ("stats", "Session statistics"), (f"show {number}", "Status")):
        typed = f"/sessions {words}".replace("id=0", f"id={number}")
        assert "Seen with the rights of <@U01ALICE>" in text_of(stage.asks(stage.alice, typed, says))
        private = stage.asks(stage.alice, f"{typed} private", says)
        assert private["ephemeral"]
        assert "Seen with" not in text_of(private)


def test_a_private_answer_goes_by_the_rights_of_now(cluster: Cluster, stage: MariaDBStage) -> None:
    cluster.connect("app@shop")
    number = session_id(cluster.connect("report@billing"))
    listed = stage.asks(stage.gus, "/sessions private", "2 in all")
    card = stage.asks(stage.gus, f"/sessions show {number} private", f"Session {number} on demo")
    reload(stage, stage.bot.config.read_text().replace('tenants = ["shop", "billing"]', 'tenants = ["shop"]'))
    stage.gus.press(listed, "Refresh")
    stage.gus.wait_for_change(listed, "1 in all")
    stage.presses(stage.gus, card, "Refresh", NOT_YOURS)


def test_a_message_of_who_may_see_less_by_now_shows_less_or_stays(cluster: Cluster, stage: MariaDBStage) -> None:
    number = session_id(cluster.connect("report@billing"))
    cluster.connect("app@shop")
    of_all = stage.asks(stage.alice, "/sessions", "2 in all")
    card = stage.asks(stage.alice, f"/sessions show {number}", f"Session {number} on demo")
    of_two = stage.asks(stage.gus, "/sessions", "2 in all")
    rules = stage.bot.config.read_text()
    narrower = rules.replace(
        '["U01ALICE"]\nmay = ["view", "close"]', '["U01ALICE"]\nmay = ["view"]\ntenants = ["shop"]'
    )
    reload(stage, narrower.replace('tenants = ["shop", "billing"]', 'tenants = ["billing"]'))
    refused(stage, stage.gus, card, "Refresh", "Whoever asked for this may not see it")
    refused(stage, stage.gus, of_two, "Refresh", "The access rules have changed since this was asked for")
    refused(stage, stage.alice, of_two, "Refresh", "The access rules have changed since this was asked for")
    stage.bob.press(of_all, "Refresh")
    assert tenants_of(stage.alice.wait_for_change(of_all, "1 in all")) == {"app"}
    reload(stage, rules.replace('"U01ALICE"', '"U04ELSE"'))
    refused(stage, stage.gus, card, "Refresh", "Whoever asked for this may not see it")


def test_rights_that_have_grown_add_no_rows_to_a_message_of_before(cluster: Cluster, stage: MariaDBStage) -> None:
    cluster.connect("report@billing")
    listed = stage.asks(stage.bob, "/sessions", "Sessions on demo")
    reload(stage, stage.bot.config.read_text().replace('tenants = ["shop"]', 'tenants = ["shop", "billing"]'))
    for person in (stage.bob, stage.alice):
        refused(stage, person, listed, "Refresh", "The access rules have changed since this was asked for")


def test_a_session_of_a_tenant_that_is_not_configured_any_more_is_not_called_ended(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    number = session_id(cluster.connect("report@billing"))
    cluster.connect("app@shop")
    everything = stage.asks(stage.alice, "/sessions", "2 in all")
    listed = stage.asks(stage.alice, "/sessions tenant=billing", "1 matching")
    cards = [stage.asks(stage.alice, f"/sessions show {number}{how}", "Status") for how in ("", " private")]
    picks(stage.alice, listed)
    configured = 'protected_users = ["guarded"]'
    reload(stage, stage.bot.config.read_text().replace(configured, f'{configured}\ntenants = ["shop"]'))
    for place in (listed, cards[0]):
        refused(stage, stage.alice, place, "Refresh", "Whoever asked for this may not see it")
    for place, button in ((cards[1], "Refresh"), (listed, "Details"), (cards[0], "View SQL")):
        refused(stage, stage.alice, place, button, NOT_YOURS)
    stage.alice.closes_modal()
    stage.bob.press(everything, "Refresh")
    assert tenants_of(stage.alice.wait_for_change(everything, "1 in all")) == {"app"}, "Bob sees all that is configured"


def test_a_message_of_an_earlier_version_has_no_asker_and_stays_as_it_is(cluster: Cluster, stage: MariaDBStage) -> None:
    number = session_id(cluster.connect("app@shop"))
    slack = WebClient(token=stage.slack.world.bot_token, base_url=stage.slack.api_url)
    for words in (f"id={number}", "stats", f"show {number}"):
        asked = stage.asks(stage.alice, f"/sessions {words}", "Seen with the rights of")
        blocks = [{**one, "block_id": one["block_id"].split("|")[0]} for one in asked["blocks"]]
        slack.chat_postMessage(channel=asked["channel"], text="of before", blocks=blocks)
        old = stage.alice.wait_for_message(lambda one: one["text"] == "of before", after=asked)
        told = refused(stage, stage.alice, old, "Refresh", "This message is of an earlier version of the bot")
        assert "Type the command again." in told


def test_who_may_see_nothing_is_told_neither_data_source_nor_tenant(cluster: Cluster, stage: MariaDBStage) -> None:
    number = session_id(cluster.connect("report@billing"))
    listed = stage.asks(stage.alice, "/sessions", "Sessions on demo")
    card = stage.asks(stage.alice, f"/sessions show {number}", f"Session {number} on demo")
    counted = stage.asks(stage.alice, "/sessions stats", "Session statistics of demo")
    picks(stage.bob, listed)
    reload(stage, stage.bot.config.read_text().replace('"U02BOB"', '"U04ELSE"'))
    for place, button in (
        (listed, "Refresh"),
        (listed, "Details"),
        (listed, "View SQL"),
        (card, "Refresh"),
        (card, "View SQL"),
        (counted, "Refresh"),
        (counted, "By Tenant"),
    ):
        told = refused(stage, stage.bob, place, button, "You may not see sessions in this channel")
        assert "demo" not in told
        assert "billing" not in told
