"""Forty people ask who blocks whom while the view of locks hangs: whoever lists or closes notices nothing of it."""

from __future__ import annotations

from pathlib import Path

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.relay import Relay
from tests.support.stage import full_text, session_id, staged

ASKED = 40


def test_while_forty_wait_for_locks_lists_and_closes_are_answered_and_then_all_of_them(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with (
        Relay(oceanbase.port) as relay,
        staged(oceanbase, tmp_path, port=relay.port, more='[triage]\ntimeout = "10s"') as stage,
    ):
        victim = session_id(stage.connect())
        stage.asks(stage.alice, "/sessions", "Sessions on demo")  # a read of the locks would be shared for a moment

        def answered() -> int:
            said = map(full_text, stage.alice.messages())
            return sum("No session waits for another one" in one for one in said)

        with relay.holds("V$OB_LOCKS"):
            for _ in range(ASKED):
                stage.alice.types("/sessions locks private")
            stage.wait_until(lambda: relay.held, "the view of locks to be asked")
            assert stage.asks(stage.alice, "/sessions user=teller", str(victim))
            card = stage.card_of(victim)
            stage.alice.press(card, "Close Session")
            stage.alice.wait_for_change(card, "✅ closed")
            assert answered() == 0, "nobody had an answer that could not be had"
            held = relay.held
        stage.wait_until(lambda: answered() == ASKED, "all of them to be answered")
        # The card asks as well, for a second each time it looks.
        assert held <= 2, "one statement at a time"
