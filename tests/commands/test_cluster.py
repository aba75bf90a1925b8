"""A cluster behind a proxy, through Slack: tenants, rights by tenant, and closing past the proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.support.cluster import BOT, Cluster
from tests.support.odp import Odp
from tests.support.slack_person import buttons_of, options_of, table_of, text_of
from tests.support.stage import APP_PASSWORD, MariaDBStage, session_id, staged_as

ACCESS = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["view", "close"]
tenants = ["billing"]
"""


OF_SHOP = "C02DBA"
SHOPS_CHANNEL = f"""
[channels.{OF_SHOP}]
tenant = "shop"
"""


@pytest.fixture(scope="module")
def standing(
    mariadb: EmbeddedMariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, MariaDBStage, Odp]]:
    folder = tmp_path_factory.mktemp("bot")
    with (
        Cluster(mariadb, transactions=True) as cluster,
        Odp(mariadb.host, mariadb.port) as odp,
        staged_as(
            MariaDBStage,
            mariadb,
            folder,
            access=ACCESS,
            user=BOT,
            password=APP_PASSWORD,
            port=odp.port,
            more=SHOPS_CHANNEL,
        ) as stage,
    ):
        yield cluster, stage, odp


@pytest.fixture
def cluster(standing: tuple[Cluster, MariaDBStage, Odp]) -> Iterator[Cluster]:
    yield standing[0]
    standing[0].tidy()


@pytest.fixture
def stage(standing: tuple[Cluster, MariaDBStage, Odp]) -> Iterator[MariaDBStage]:
    yield standing[1]
    standing[1].tidy()


@pytest.fixture
def odp(standing: tuple[Cluster, MariaDBStage, Odp]) -> Odp:
    standing[2].kills.clear()
    return standing[2]


def test_a_tenant_column_stands_where_more_than_one_tenant_is_shown(cluster: Cluster, stage: MariaDBStage) -> None:
    cluster.connect("app@shop")
    cluster.connect("report@billing")
    both = text_of(stage.asks(stage.alice, "/sessions", "Sessions on demo"))
    assert "| Tenant |" in both
    assert "| app | shop |" in both
    assert "| report | billing |" in both
    assert "| Tenant |" not in text_of(stage.asks(stage.alice, "/sessions tenant=billing", "Sessions on demo"))


def test_whoever_may_see_one_tenant_sees_and_closes_no_other(cluster: Cluster, stage: MariaDBStage) -> None:
    other = cluster.connect("app@shop")
    cluster.connect("report@billing")
    own = text_of(stage.asks(stage.bob, "/sessions", "Sessions on demo"))
    assert "| report |" in own
    assert "| app |" not in own
    assert "1 in all" in own
    answer = stage.asks(stage.bob, f"/kill-session {session_id(other)}", "that you may close")
    assert "shop" not in text_of(answer)
    other.ping(reconnect=False)


def test_in_a_tenants_channel_its_variables_are_shown_and_whose_they_are_is_said(stage: MariaDBStage) -> None:
    for typed in ("", " global"):
        answer = stage.asks(stage.alice, f"/sessions vars like=query_timeout{typed}", "variables of demo", OF_SHOP)
        assert table_of(answer)[1][:2] == ["ob_query_timeout", "77000000 µs (77 s)"]
        for text in (answer["text"], text_of(answer)):
            assert "Global variables of demo, tenant shop" in text
            assert "Defaults for new sessions of tenant shop; a session may have changed them since." in text
            assert ("No server shows another session's, so these are the global ones." in text) is (typed == "")
    named = stage.asks(stage.alice, "/sessions vars query_timeout tenant=billing", "of demo, tenant billing", OF_SHOP)
    assert table_of(named)[1][1] == "44000000 µs (44 s)"
    own = stage.asks(stage.alice, "/sessions vars wait_timeout", "Variables of demo, tenant sys")
    for text in (own["text"], text_of(own)):
        assert "These are the variables of the bot's own session, which is of tenant sys; no server shows" in text
    stage.asks(stage.alice, "/sessions vars tenant=nowhere", "There is no tenant “nowhere” on demo")


def test_variables_of_tenants_that_somebody_may_not_see_are_not_shown(stage: MariaDBStage) -> None:
    assert "44 s" in text_of(stage.asks(stage.bob, "/sessions vars query_timeout", "of demo, tenant billing"))
    for typed in ("tenant=sys", "tenant=shop", "global tenant=sys"):
        refused = stage.asks(stage.bob, f"/sessions vars {typed}", "You may not see sessions of tenant")
        assert refused["ephemeral"]
        assert "ob_query_timeout" not in text_of(refused)
    assert stage.asks(stage.bob, "/sessions vars", "You may not see sessions of tenant shop", OF_SHOP)["ephemeral"]
    stage.asks(stage.bob, "/sessions vars tenant=billing query", "of demo, tenant billing", OF_SHOP)


@pytest.mark.parametrize("name", ["app@shop", "SCOTT@ora"])  # the second as of an Oracle-mode tenant
def test_a_session_of_any_tenant_is_closed_past_the_proxy(
    cluster: Cluster, stage: MariaDBStage, odp: Odp, name: str
) -> None:
    victim = cluster.connect(name)
    number = session_id(victim)
    user, tenant = name.split("@")
    card = stage.asks(stage.alice, f"/kill-session {number}", "Nothing is closed without a press")
    assert f"Tenant {tenant}" in text_of(card)
    assert f"User {user}" in text_of(card)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert odp.kills == [b"KILL %d" % number]
    assert stage.row(number) == {}


def test_where_the_server_past_the_proxy_cannot_be_asked_the_card_says_so_at_once(
    cluster: Cluster, stage: MariaDBStage, odp: Odp
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        victim = cluster.connect("app@shop", server="127.0.0.1", port=unused.getsockname()[1])
        card = stage.asks(stage.alice, f"/kill-session {session_id(victim)}", "Nothing is closed without a press")
        stage.alice.press(card, "Close Session")
        result = text_of(stage.alice.wait_for_change(card, "still running"))
    assert "It is still listed, and its own server could not be asked." in result
    assert "cannot be reached" in result
    victim.ping(reconnect=False)


def test_locks_that_outlive_a_closed_client_are_offered_with_their_server_session_and_never_closed_by_themselves(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    client = cluster.connect("app@shop", proxy="10.9.0.1:33060", client="10.0.3.9")
    number = session_id(client)
    cluster.run("UPDATE oceanbase.placement SET trans_id = 77")
    marked = cluster.connect("hidden@shop")
    cluster.holds(77, session_id(marked))
    card = stage.asks(stage.alice, f"/kill-session {number}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    result = stage.alice.wait_for_change(card, "its locks stay until the client's next request")
    result = stage.alice.wait_for_change(card, lambda message: bool(buttons_of(message)))
    offered = f"Close Session {session_id(marked)}"
    assert buttons_of(result) == [offered]
    marked.ping(reconnect=False)
    again = stage.presses(stage.alice, result, offered, "Nothing is closed without a press")
    assert f"Close session {session_id(marked)}?" in text_of(again)
    stage.alice.press(again, "Close Session")
    stage.alice.wait_for_change(again, "✅ closed")
    freed = stage.alice.wait_for_change(result, "It took longer; at first it was still running.")
    assert buttons_of(freed) == [], "the locks are free"


def test_a_session_of_a_server_that_does_not_answer_is_not_said_to_have_ended(
    cluster: Cluster, stage: MariaDBStage
) -> None:
    cluster.dress_up(ID=3221500001)
    cluster.serves("10.0.0.9")
    listed = stage.asks(stage.alice, "/sessions id=3221500001", "Sessions on demo")
    card = stage.asks(stage.alice, "/sessions show 3221500001", "Session 3221500001 on demo")
    cluster.run("DELETE FROM oceanbase.extra_sessions", "UPDATE oceanbase.DBA_OB_SERVERS SET STATUS = 'INACTIVE'")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions"))
    for place, button in ((card, "Refresh"), (listed, "Details"), (card, "View SQL")):
        told = stage.presses(stage.alice, place, button, "is still there cannot be seen")
        assert "Server 10.0.0.9:2881 did not answer, so its sessions may be missing from the list." in text_of(told)
    cluster.run("UPDATE oceanbase.DBA_OB_SERVERS SET STATUS = 'ACTIVE'")
    stage.alice.press(card, "Refresh")
    stage.alice.wait_for_change(card, "This session has ended.")


@pytest.mark.parametrize(
    ("user", "narrowed", "named"),
    [("guarded@shop", "", "guarded"), ("app@shop", " tenant=billing", "There is one of tenant shop")],
    ids=["its-user", "its-tenant"],
)
def test_the_record_tells_who_sees_one_tenant_nothing_of_another_one_that_a_request_left_untouched(
    cluster: Cluster, stage: MariaDBStage, user: str, narrowed: str, named: str
) -> None:
    closable = session_id(cluster.connect("app@billing", client="10.9.0.1"))
    left = session_id(cluster.connect(user, client="10.9.0.2"))
    card = stage.asks(stage.alice, f"/kill-session {closable},{left}{narrowed}", "Nothing is closed without a press")
    assert named in text_of(card)
    stage.alice.press(card, "Cancel")
    stage.alice.wait_for_change(card, "cancelled")
    for typed in ("", "here", "tenant=billing", "csv"):
        for person, sees in ((stage.alice, True), (stage.bob, False)):
            before = len(person.direct_messages())
            wanted = {"csv": "as a file", "here": "The timeline of this channel"}.get(typed, "Record of closes")
            answer = stage.asks(person, f"/sessions audit {typed}", wanted)
            said = text_of(answer)
            if typed == "csv":
                (message,) = person.direct_messages()[before:]
                said = message["files"][0]["text"]
                assert (named in said) is sees, typed
                assert (f'""id"": {closable}' in said, f'""session_id"": {left}' in said) == (sees, sees)
                continue
            assert f"cancelled the close of {closable}" in said, "which names that one alone"
            assert (f"asked for Close Session: {closable}" in said) is sees, typed
