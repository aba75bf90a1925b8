"""The whole flow behind an address that moves, a firewall that forgets, and beside searches that hang."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.support.relay import Relay
from tests.support.servers import UnpackedMariaDB
from tests.support.slack_person import buttons_of
from tests.support.slack_text import Json
from tests.support.stage import MariaDBStage, accounts, full_text, session_id, staged_as

BOT, PASSWORD = "switching_bot", "switching-password"


class Moving(MariaDBStage):
    """A stage whose bot reaches its database through an address that may come to lead elsewhere."""

    relay: Relay

    def ended(self, card: Json) -> str:
        """Wait until a card tells an outcome, and return all that it says."""
        return full_text(
            self.alice.wait_for_change(
                card, lambda now: not buttons_of(now) and "is being closed" not in full_text(now)
            )
        )


@pytest.fixture(scope="module")
def standing(
    mariadb: EmbeddedMariaDB, mariadb118: UnpackedMariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Moving]:
    with contextlib.ExitStack() as stack:
        for server in (mariadb, mariadb118):
            accounts(server)
            cursor = stack.enter_context(stack.enter_context(server.connect()).cursor())
            cursor.execute(f"CREATE USER {BOT} IDENTIFIED BY '{PASSWORD}'")
            cursor.execute(f"GRANT PROCESS, CONNECTION ADMIN ON *.* TO {BOT}")
            stack.callback(cursor.execute, f"DROP USER {BOT}")
        relay = stack.enter_context(Relay(mariadb.port))
        folder, port = tmp_path_factory.mktemp("bot"), relay.port
        stage = stack.enter_context(staged_as(Moving, mariadb, folder, user=BOT, password=PASSWORD, port=port))
        stage.relay = relay
        yield stage


@pytest.fixture
def moving(standing: Moving) -> Iterator[Moving]:
    yield standing
    standing.tidy()


def test_the_first_list_and_the_first_press_work_after_a_firewall_has_forgotten_the_connections(moving: Moving) -> None:
    stage = moving
    victim = session_id(stage.connect())
    stage.relay.forgets()
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    card = stage.card_of(victim)
    stage.relay.forgets()
    stage.alice.press(card, "Close Session")
    assert "✅" in stage.ended(card)
    assert not stage.row(victim)


def test_people_who_search_delay_nobody_who_closes(moving: Moving) -> None:
    stage = moving
    victim = session_id(stage.connect())
    with stage.relay.holds("needle"):
        for number in range(8):
            stage.bob.types(f"/sessions user=needle{number} private")
        stage.slack.wait_for(lambda: stage.relay.held >= 3, what="as many searches as there may be at once")
        card = stage.card_of(victim)
        stage.alice.press(card, "Close Session")
        assert "✅" in stage.ended(card)
        answered = [full_text(one) for one in stage.bob.messages() if "Sessions on demo" in full_text(one)]
        assert answered == [], "the searches still hang"


def test_after_a_switch_over_the_other_server_is_shown_it_is_said_and_a_card_of_before_is_refused(
    moving: Moving, mariadb118: UnpackedMariaDB
) -> None:
    stage = moving
    victim = session_id(stage.connect())
    card = stage.card_of(victim)
    stage.relay.leads_to(mariadb118.port)
    stage.relay.forgets()  # as that of a server that is gone
    told = full_text(stage.asks(stage.alice, "/sessions", "Sessions on demo"))
    assert (
        f"UTC the address of demo leads to {host_of(mariadb118)}; before, it led to {host_of(stage.database)}" in told
    )
    assert "address leads to another server" in stage.bot.log.read_text(encoding="utf-8")
    stage.alice.press(card, "Close Session")
    outcome = stage.ended(card)
    assert "the address of demo leads to" in outcome
    assert "Nothing was sent for it." in outcome
    assert stage.row(victim), "it is still there"
    with mariadb118.connect() as there:
        card = stage.card_of(session_id(there))
        stage.alice.press(card, "Close Session")
        assert "✅" in stage.ended(card)


def host_of(server: EmbeddedServer) -> str:
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("SELECT CONCAT(@@hostname, ':', @@port)")
        ((place,),) = cursor.fetchall()
        return str(place)
