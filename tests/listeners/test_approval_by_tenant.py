"""Requests over several tenants, and rules that become stricter while a card is open: each decides what is theirs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.slack.faults import Failure
from tests.support.approving import dialog_of
from tests.support.cluster import BOT, Cluster
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import APP_PASSWORD, ASKS, MariaDBStage, RunningStatement, session_id, staged_as

ALICE = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]
"""
OF_SHOP = """
[[access]]
who = ["U02BOB"]
may = ["view", "close", "approve"]
tenants = ["shop"]
"""
OF_BILLING = """
[[access]]
who = ["U03GUS"]
may = ["close", "approve"]
tenants = ["billing"]
"""
SECOND_PERSON = 'approval = "second-person"'
GLASS = 'break_glass_after = "1s"'
SOURCE = "max_targets = 20  # changed by tests"


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb) as cluster:
        yield cluster


@pytest.fixture
def stage(cluster: Cluster, tmp_path: Path) -> Iterator[MariaDBStage]:
    """Give a stage of its own: its rules are changed."""
    access = ALICE + OF_SHOP + OF_BILLING
    database = cluster.database
    with staged_as(
        MariaDBStage, database, tmp_path, access=access, source=SOURCE, user=BOT, password=APP_PASSWORD
    ) as stage:
        yield stage


def changes(stage: MariaDBStage, *pairs: tuple[str, str]) -> None:
    """Change the bot's configuration and have it read again."""
    text = stage.bot.config.read_text()
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after, 1)
    known = reloads(stage)
    stage.bot.config.write_text(text)
    stage.bot.signal(signal.SIGHUP)
    stage.slack.wait_for(lambda: reloads(stage) > known, what="the configuration to be read again")


def reloads(stage: MariaDBStage) -> int:
    events = [json.loads(line)["event"] for line in stage.bot.log.read_text().splitlines()]
    assert "new configuration refused, the one before stays" not in events
    return events.count("configuration read again")


def second_person(stage: MariaDBStage, *more: str) -> None:
    changes(stage, (SOURCE, "\n".join((SOURCE, SECOND_PERSON, *more))))


def two(cluster: Cluster) -> tuple[int, int]:
    """Open a session of each tenant."""
    return session_id(cluster.connect("app@shop")), session_id(cluster.connect("report@billing"))


def refused(stage: MariaDBStage) -> str:
    """What the newest refusal on record says."""
    (details,) = stage.stored("SELECT details FROM audit WHERE event = 'refused' ORDER BY id DESC LIMIT 1")
    return str(json.loads(details[0])["why"])


def cards(stage: MariaDBStage, *numbers: int) -> list[Json]:
    """Alice asks for sessions; return the cards, each with the sessions that it names."""
    known = [one["key"] for one in stage.alice.messages()]
    stage.alice.types(f"/kill-session {','.join(map(str, numbers))}")

    def shown() -> list[Json]:
        new = [one for one in stage.alice.messages() if one["key"] not in known and ASKS in text_of(one)]
        return new if all(any(f"Session ID {number}" in text_of(one) for one in new) for number in numbers) else []

    return stage.slack.wait_for(shown)


# One request over several tenants


def test_where_a_second_person_confirms_each_set_of_approvers_gets_a_card_of_its_own(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    second_person(stage)
    shop, billing = two(cluster)
    of_shop, of_billing = cards(stage, shop, billing)
    assert "Card 1 of 2: these sessions have different approvers." in text_of(of_shop)
    assert f"Session ID {billing}" not in text_of(of_shop)
    assert "A second person must confirm: <@U02BOB>." in text_of(of_shop)
    assert "A second person must confirm: <@U03GUS>." in text_of(of_billing)
    assert "You may not" in text_of(stage.presses(stage.gus, of_shop, "Cancel", "You may not close sessions"))
    dialog = dialog_of(stage.bob, of_shop, "Close Session")
    assert "disconnects the client" in text_of(dialog)
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(of_shop, "✅ closed")
    dialog_of(stage.gus, of_billing, "Close Session")
    assert stage.gus.submit() == {}
    stage.alice.wait_for_change(of_billing, "✅ closed")


def test_a_press_of_who_may_close_one_tenant_leaves_the_rest_open_on_a_card_of_its_own(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop, billing = two(cluster)
    (card,) = cards(stage, shop, billing)
    rest = stage.presses(stage.bob, card, "Close Session", "Part of this request has been decided.")
    result = text_of(stage.alice.wait_for_change(card, "✅ closed"))
    assert f"Session ID {billing}" not in result, "it is not decided there"
    assert f"Close session {billing}?" in text_of(rest)
    assert "Asked by <@U01ALICE>" in text_of(rest)
    stage.gus.press(rest, "Close Session")
    stage.alice.wait_for_change(rest, "✅ closed")
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM information_schema.PROCESSLIST WHERE ID IN (%s, %s)", (shop, billing))
        assert cursor.fetchall() == ()


def test_a_window_shows_and_counts_what_this_person_may_decide(cluster: Cluster, stage: MariaDBStage) -> None:
    shop = [session_id(cluster.connect("app@shop")) for _ in range(2)]
    billing = [session_id(cluster.connect("report@billing")) for _ in range(4)]
    known = {one["key"] for one in stage.alice.messages()}
    stage.alice.types(f"/kill-session {','.join(map(str, [*shop, *billing]))}")
    card = stage.alice.wait_for_message(lambda one: one["key"] not in known and ASKS in text_of(one))
    dialog = dialog_of(stage.bob, card, "Close Session")
    said = text_of(dialog)
    assert "app from" in said
    assert "report from" not in said
    assert "disconnects 2 clients" in said
    assert "Of this request 4 more stay open: somebody else decides them." in said
    assert "How many sessions" not in said, "two need not be typed"
    assert stage.bob.submit() == {}
    rest = stage.bob.wait_for_message("Part of this request has been decided.")
    assert "Close 4 sessions?" in text_of(rest)
    assert "Close 2 sessions: 2 closed" in text_of(stage.alice.wait_for_change(card, "2 closed"))
    assert all(map(stage.row, billing))


def test_a_cancel_by_who_may_close_one_tenant_leaves_the_rest_open(cluster: Cluster, stage: MariaDBStage) -> None:
    shop, billing = two(cluster)
    (card,) = cards(stage, shop, billing)
    rest = stage.presses(stage.gus, card, "Cancel", "Part of this request has been decided.")
    cancelled = text_of(stage.alice.wait_for_change(card, "cancelled"))
    assert f"Session ID {shop}" not in cancelled
    stage.alice.press(rest, "Close Session")
    stage.alice.wait_for_change(rest, "✅ closed")
    assert still_there(stage, billing)


def still_there(stage: MariaDBStage, number: int) -> bool:
    return bool(stage.row(number))


# Rules that are stricter than when the card was shown


def test_a_card_of_before_a_second_person_was_wanted_is_not_closed_by_who_asked(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop, _ = two(cluster)
    (card,) = cards(stage, shop)
    second_person(stage)
    assert "needs a second person" in text_of(stage.presses(stage.alice, card, "Close Session", "second person"))
    now = stage.alice.wait_for_change(card, "A second person must confirm: <@U02BOB>")
    assert still_there(stage, shop)
    dialog_of(stage.bob, now, "Close Session")
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, "✅ closed")


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([(GLASS, "")], "needs a second person"),
        ([(GLASS, 'break_glass_after = "1h"')], "You may confirm this alone in 3"),
    ],
    ids=["taken out", "longer"],
)
def test_a_break_glass_under_way_waits_as_long_as_is_wanted_now(
    cluster: Cluster, stage: MariaDBStage, pairs: list[tuple[str, str]], says: str
) -> None:
    second_person(stage, GLASS)
    shop, _ = two(cluster)
    (card,) = cards(stage, shop)
    stage.alice.fill_in(dialog_of(stage.alice, card, "Break glass", "alone"), "Reason", "stuck")
    assert stage.alice.submit() == {}
    card = stage.alice.wait_for_change(card, "Break-glass")
    changes(stage, *pairs)
    stage.passes(card, 2)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_modal(says)
    assert still_there(stage, shop)


def test_what_somebody_asked_who_may_close_nothing_any_more_is_closed_by_nobody_and_the_approver_is_told(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    second_person(stage)
    shop, _ = two(cluster)
    (card,) = cards(stage, shop)
    changes(stage, (ALICE, ""))
    stage.bob.press(card, "Close Session")
    stage.bob.wait_for_modal("Who asked for this may no longer close sessions of tenant shop here")
    assert still_there(stage, shop)
    assert "Who asked for this may no longer close" in refused(stage)


def test_a_session_of_a_tenant_that_the_bot_is_kept_from_by_now_is_not_called_gone(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop, billing = two(cluster)
    (both,) = cards(stage, shop, billing)
    (alone,) = cards(stage, shop)
    changes(stage, (SOURCE, SOURCE + '\ntenants = ["billing"]'))
    told = text_of(
        stage.presses(stage.alice, alone, "Close Session", "This bot is no longer configured for tenant shop.")
    )
    assert "gone" not in told
    stage.alice.press(both, "Close Session")
    result = text_of(stage.alice.wait_for_change(both, "1 closed"))
    assert "not allowed" in result
    assert "already gone" not in result
    assert still_there(stage, shop)
    assert not still_there(stage, billing)


@pytest.mark.parametrize(
    ("more", "says"),
    [("[closing]\nrequire_reason = true\n", "A reason is required now."), ("max_targets = 1", "now closes at most 1")],
    ids=["a reason", "fewer at once"],
)
def test_what_could_not_be_asked_for_any_more_is_not_confirmed(
    cluster: Cluster, stage: MariaDBStage, more: str, says: str
) -> None:
    (card,) = cards(stage, *two(cluster))
    changes(stage, ("[store]", f"{more}[store]") if "[closing]" in more else (SOURCE, more))
    stage.presses(stage.alice, card, "Close Session", says)
    assert stage.stored("SELECT COUNT(*) FROM audit WHERE event = 'intent'") == [(0,)]


def test_a_window_confirms_what_it_has_shown_though_more_may_be_decided_by_now(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop, billing = two(cluster)
    (card,) = cards(stage, shop, billing)
    second_person(stage)
    stage.presses(stage.alice, card, "Close Session", "needs a second person")
    card = stage.alice.wait_for_change(card, "A second person must confirm")
    dialog_of(stage.bob, card, "Close Session", "Of this request 1 more stays open: somebody else decides it.")
    changes(stage, (OF_SHOP, OF_SHOP.replace('["shop"]', '["shop", "billing"]')))
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, f"Close session {shop}: ✅ closed")
    assert still_there(stage, billing)


def test_close_query_takes_nothing_of_a_request_where_what_is_theirs_runs_none(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop = session_id(cluster.connect("app@shop"))
    running = RunningStatement(cluster.connect("report@billing"), "SELECT SLEEP(60)")
    stage.wait_until(lambda: stage.row(running.id).get("COMMAND") == "Query", "the statement to run")
    (card,) = cards(stage, shop, running.id)
    stage.presses(stage.bob, card, "Close Query", "Close Query has nothing to close among what you may decide here.")
    assert "Close Query" in buttons_of(stage.alice.now(card) or {}), "it waits for who may"
    stage.gus.press(card, "Close Query")
    stage.alice.wait_for_message("Part of this request has been decided.")
    assert running.ended()


def test_a_session_that_another_login_of_the_bot_does_not_see_is_not_called_gone(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    cluster.user("monitor@shop", "PROCESS", "CONNECTION ADMIN")
    _, billing = two(cluster)
    (card,) = cards(stage, billing)
    shown = stage.asks(stage.alice, f"/sessions show {billing}", f"Session {billing} on demo")
    changes(stage, (f'user = "{BOT}"', 'user = "monitor@shop"'))
    only = "The bot's login monitor@shop sees only the sessions of tenant shop."
    assert only in text_of(stage.presses(stage.alice, shown, "Refresh", "cannot be seen"))
    stage.alice.press(card, "Close Session")
    result = text_of(stage.alice.wait_for_change(card, "unverified"))
    assert only in result
    assert "ended" not in result
    assert still_there(stage, billing)


TWIN = """
[data_sources.twin]
host = "{host}"
port = {port}
user = "{user}"
password = "{password}"
approval = "second-person"
break_glass_after = "1s"
"""
BOB_ALL = OF_SHOP.replace('tenants = ["shop"]\n', "")


def test_a_stop_holds_by_whatever_name_a_server_is_asked_and_ends_what_was_broken_open_before(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    database = cluster.database
    twin = TWIN.format(host=database.host, port=database.port, user=BOT, password=APP_PASSWORD)
    second = f"{SOURCE}\n{SECOND_PERSON}\n{GLASS}"
    changes(stage, (OF_SHOP, BOB_ALL), (SOURCE, second), ("[store]", twin + "[store]"))
    shop, _ = two(cluster)
    broken = []
    for source in ("demo", "twin"):
        card = stage.asks(stage.alice, f"/kill-session {shop} source={source}", ASKS)
        stage.alice.fill_in(dialog_of(stage.alice, card, "Break glass", "alone"), "Reason", "stuck")
        assert stage.alice.submit() == {}
        broken.append(stage.alice.wait_for_change(card, "Break-glass"))
    stage.bob.press(broken[0], "Stop")
    other = stage.alice.wait_for_change(broken[1], "pressed *Stop* at")
    assert buttons_of(other) == ["Close Session", "Cancel", "Lift Stop"]
    stage.bob.press(other, "Lift Stop")
    lifted = stage.alice.wait_for_change(other, lambda message: "Break glass" in buttons_of(message))
    stage.passes(lifted, 2)
    stage.alice.press(lifted, "Close Session")
    stage.alice.wait_for_modal("needs a second person")
    assert still_there(stage, shop), "the glass is to be broken anew"


def test_who_looked_at_what_stays_open_is_sent_to_its_card_once_somebody_has_decided_the_rest(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop = session_id(cluster.connect("app@shop"))
    billing = [session_id(cluster.connect("report@billing")) for _ in range(6)]
    known = {one["key"] for one in stage.alice.messages()}
    stage.alice.types(f"/kill-session {','.join(map(str, [shop, *billing]))}")
    card = stage.alice.wait_for_message(lambda one: one["key"] not in known and ASKS in text_of(one))
    window = dialog_of(stage.gus, card, "Close Session")
    dialog_of(stage.bob, card, "Close Session")
    assert stage.bob.submit() == {}
    rest = stage.gus.wait_for_message("Part of this request has been decided.")
    stage.gus.fill_in(window, "How many sessions do you want to close?", "6")
    assert stage.gus.submit() == {}
    stage.gus.wait_for_message("What you looked at waits on a card of its own: press there.")
    assert "Close Session" in buttons_of(stage.gus.now(rest) or {})
    assert all(map(stage.row, billing))


def test_what_stays_open_gets_its_card_though_the_bot_dies_before_it_is_posted(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    shop, billing = two(cluster)
    (card,) = cards(stage, shop, billing)
    ill = Failure("", 500, "internal_error")
    stage.slack.faults.fall_ill(ill, share=1.0, methods=["chat.postMessage", "response_url"])
    stage.bob.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    stage.bot.kill()
    stage.slack.faults.recover()
    stage.bot.start()
    rest = stage.gus.wait_for_message("Part of this request has been decided.")
    stage.gus.press(rest, "Close Session")
    stage.alice.wait_for_change(rest, f"Close session {billing}: ✅ closed")
