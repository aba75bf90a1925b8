"""Advice on cards and windows: said with its reason, the advised button first, whatever the names in it."""

from __future__ import annotations

from dataclasses import replace

from bot.closing.model import ClosingRequest, Outcome
from bot.errors import AlreadyClosedError
from bot.sessions.model import Mode
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import Action, Advice
from bot.slack.views import closing_card, closing_modal, notices
from sandbox.slack.rules import check_view
from tests.sessions.examples import EXAMPLE
from tests.slack.views.test_closing_card import IDLE, NOW, done, fits, numbered, request, said
from tests.support.sessions import like
from tests.support.slack_text import buttons_of, text_of

HEAD = replace(IDLE, id=77)
BLOCKED = Advice(
    Action.CLOSE_BLOCKER,
    "It waits itself: closing it frees nobody. Session 77 of app holds it.",
    (HEAD,),
    then="Session 77 of app: Close Session. It has been idle for 75 s in a transaction.",
)


def advised(asked: ClosingRequest, *advice: Advice) -> ClosingRequest:
    targets = zip(asked.targets, advice, strict=True)
    return replace(asked, targets=tuple(replace(target, advice=one) for target, one in targets))


def buttons(asked: ClosingRequest) -> list[str]:
    message = closing_card.closing_card(asked, disclosure=Disclosure.DIGEST)
    fits(message)
    return buttons_of({"blocks": message.payload()})


def test_a_victims_card_says_who_blocks_and_leads_there_first() -> None:
    victim = like(EXAMPLE, retry_info=-6005)
    asked = advised(request(victim), BLOCKED)
    message = closing_card.closing_card(asked, disclosure=Disclosure.DIGEST)
    assert buttons(asked) == ["Close the blocker instead", "Close Session", "Close Query", "Cancel"]
    card = said(message)
    assert "💡 Close the blocker instead. It waits itself: closing it frees nobody. Session 77 of app holds it." in card
    assert "Session 77 of app: Close Session." in card
    assert "the locks are released" not in card
    assert "Its own transaction is rolled back; what it waits for stays with whoever holds that." in card
    assert "Close the blocker instead. It waits itself" in message.text, "a notification says it as well"


def test_the_button_that_is_advised_comes_first() -> None:
    query = Advice(Action.CLOSE_QUERY, "Its statement is all of its transaction.")
    assert buttons(advised(request(EXAMPLE), query)) == ["Close Query", "Close Session", "Cancel"]
    session = Advice(Action.CLOSE_SESSION, "Its transaction began before.")
    asked = replace(advised(request(EXAMPLE), session), mode=Mode.QUERY)
    assert buttons(asked) == ["Close Session", "Close Query", "Cancel"]
    assert buttons(request(EXAMPLE)) == ["Close Session", "Close Query", "Cancel"], "of an older version"


def test_a_guess_is_told_as_one() -> None:
    asked = advised(request(EXAMPLE), replace(BLOCKED, guessed=True))
    card = said(closing_card.closing_card(asked, disclosure=Disclosure.DIGEST))
    assert "💡 Close the blocker instead, perhaps." in card
    assert buttons(asked)[0] == "Close 77 instead"


def test_what_could_not_be_read_is_said_and_nothing_else_changes() -> None:
    asked = advised(request(EXAMPLE), Advice(Action.UNKNOWN, "Who waits for whom could not be read: it hangs."))
    card = said(closing_card.closing_card(asked, disclosure=Disclosure.DIGEST))
    assert "❓ No advice. Who waits for whom could not be read: it hangs." in card
    assert buttons(asked) == ["Close Session", "Close Query", "Cancel"]


def test_of_several_it_is_said_how_many_wait_themselves_and_for_whom() -> None:
    query = Advice(Action.CLOSE_QUERY, "Alone.", past="The same was closed twice in 10 min.")
    asked = advised(request(*numbered(3)), BLOCKED, BLOCKED, query)
    card = said(closing_card.closing_card(asked, disclosure=Disclosure.DIGEST))
    assert "2 of these wait themselves: closing them frees only those that wait for nobody else." in card
    assert "At the head of what they wait for: session 77." in card
    assert "🔁 The same was closed twice in 10 min." in card
    assert buttons(asked)[0] == "Close the blocker instead"
    one_of_them = advised(request(*numbered(2), HEAD), BLOCKED, BLOCKED, query)
    assert "Close the blocker instead" not in buttons(one_of_them), "it is closed by this card"


def test_the_window_says_it_too() -> None:
    asked = advised(request(EXAMPLE), BLOCKED)
    view = closing_modal.as_it_is_now(asked, {1: EXAMPLE}, Mode.SESSION, {}, disclosure=Disclosure.DIGEST)
    check_view(view)
    assert "It waits itself: closing it frees nobody." in text_of(view)


def test_long_and_hostile_advice_fits_on_every_card() -> None:
    hostile = "<!channel> `*_~& " * 400
    advice = replace(BLOCKED, reason=hostile, then=hostile, past=hostile, instead=(HEAD,) * 9)
    for count in (1, 5, 20):
        asked = advised(request(*numbered(count)), *[advice] * count)
        message = closing_card.closing_card(asked, disclosure=Disclosure.DIGEST)
        fits(message)
        assert "<!channel>" not in message.text


def test_who_runs_it_again_after_its_query_was_closed_is_told_on_the_card() -> None:
    finished = done(request(EXAMPLE), Outcome.QUERY_CLOSED, mode=Mode.QUERY)
    again = replace(finished, targets=(replace(finished.targets[0], newcomer=EXAMPLE.id),))
    card = said(closing_card.closing_result(again, disclosure=Disclosure.DIGEST))
    assert f"🔁 runs it again: the client of session {EXAMPLE.id} has sent the same query once more." in card
    assert "came back as" not in card


def test_who_closed_what_is_ending_is_named_with_the_time() -> None:
    error = AlreadyClosedError("Session 5: It is ending. Nothing was sent.", by="U01ALICE", at=NOW)
    assert "<@U01ALICE> closed it at" in text_of({"blocks": notices.failure(error, "e1").payload()})
    unknown = AlreadyClosedError("Session 5: It is ending. Nothing was sent.")
    assert "closed it at" not in text_of({"blocks": notices.failure(unknown, "e1").payload()})
