"""Cards of closing requests: they tell what is so, also where Slack, the data source or the configuration fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.access import Person
from bot.closing.model import ApprovalPolicy, Budget, CardPlace, ClosingRequest, Outcome, State
from bot.closing.store.leases import LEASE
from bot.errors import BudgetError, DataSourceUnreachableError, RequestError, StoreError
from bot.listeners.closing_cards import ClosingCards
from bot.sessions.console import Console
from bot.sessions.model import Mode
from bot.slack.delivery.card_keeper import CardKeeper
from bot.slack.delivery.card_message import Messages
from bot.slack.delivery.card_writer import CardWriter, Written
from bot.slack.delivery.message import Message
from bot.slack.delivery.replies import Reply
from bot.slack.events import Press, Submission
from bot.slack.slack_errors import SlackError, of_answer
from bot.slack.views import closing_modal
from tests.closing.conftest import ALICE, BOB, BREAK_GLASS_AFTER, CHANNEL, Desk, tamper
from tests.closing.several import ask, confirm, outcomes, shared, sleepers
from tests.support.patience import PATIENCE
from tests.support.slack_text import buttons_of, text_of

PLACE = CardPlace(CHANNEL, "1718.0001")
PRESSED = CardPlace(CHANNEL, "")  # the message that was pressed on, wherever it is


class Slack(Reply):
    """What has been shown, and whether Slack takes rewritten cards; it stands for the channel and the person.

    Whoever looks, or changes what it takes, waits for the writer of cards first.
    """

    def __init__(self, writer: CardWriter) -> None:
        self.response_url = ""  # as where Slack gives none
        self.writer = writer
        self._takes = True
        self._cards: list[tuple[CardPlace, Message]] = []
        self._spoken: list[tuple[str, Message]] = []

    def update(self, place: CardPlace, message: Message) -> Written:
        if not self._takes:
            return Written.REFUSED
        self._cards.append((place, message))
        return Written.TAKEN

    def rewrite(self, message: Message) -> Written:
        return self.update(PRESSED, message)

    def replace(self, message: Message, *, ephemeral: bool = False, ts: str = "") -> bool:
        return self.update(CardPlace(CHANNEL, ts), message).taken

    def post(self, channel: str, message: Message) -> CardPlace | Written:
        self._spoken.append((channel, message))
        return CardPlace(channel, f"17.{len(self._spoken)}") if self._takes else Written.REFUSED

    def tell(self, person: str, message: Message) -> CardPlace | SlackError:
        place = self.post(f"D{person}", message)
        return place if isinstance(place, CardPlace) else of_answer(200, "user_disabled")

    def public(self, message: Message) -> bool:
        self._spoken.append(("public", message))
        return True

    def private(self, message: Message) -> bool:
        self._spoken.append(("private", message))
        return True

    def settle(self) -> None:
        """Wait until all that was handed over is shown, or refused, and noted."""
        self.writer.settle(PATIENCE)

    @property
    def takes(self) -> bool:
        return self._takes

    @takes.setter
    def takes(self, takes: bool) -> None:
        self.settle()
        self._takes = takes

    @property
    def cards(self) -> list[tuple[CardPlace, Message]]:
        """Rewritten cards, oldest first."""
        self.settle()
        return self._cards

    @property
    def said(self) -> list[tuple[str, Message]]:
        """Everything else, with how it was said."""
        self.settle()
        return self._spoken

    def open_modal(self, trigger_id: str, view: Any, button: str) -> str:
        return "V1"

    def update_modal(self, view_id: str, view: Any) -> None:
        self._spoken.append(("modal", Message(text_of(view), [])))

    @property
    def card(self) -> str:
        """The card as it was rewritten last, with its buttons at the end."""
        shown = {"blocks": [one for place, one in self.cards if not place.channel.startswith("D")][-1].payload()}
        return f"{text_of(shown)} {buttons_of(shown)}"


@pytest.fixture
def slack() -> Iterator[Slack]:
    writer = CardWriter()
    yield Slack(writer)
    writer.close(PATIENCE)


MakeCards = Callable[[Desk], ClosingCards]


@pytest.fixture
def cards_of(slack: Slack) -> MakeCards:
    messages = Messages(slack.update, slack.post, slack.tell)
    return lambda desk: ClosingCards(
        desk.store,
        desk.requests,
        desk.approvals,
        desk.break_glass,
        desk.budget,
        desk.closer,
        desk.closer._follow_ups,
        desk.disclosures,
        CardKeeper(desk.store, desk.approvals, desk.break_glass, desk.disclosures, messages, slack.writer),
    )


@pytest.fixture
def cards(desk: Desk, cards_of: MakeCards) -> ClosingCards:
    return cards_of(desk)


def placed(desk: Desk, *sessions: int) -> ClosingRequest:
    request = ask(desk, *sessions)
    desk.store.cards.place(request, PLACE)
    return replace(request, card=PLACE)


def press(slack: Slack, value: str, person: Person = ALICE) -> Press:
    return Press("", value, {}, person, CHANNEL, PLACE.ts, False, "T1", slack)


def submission(slack: Slack, request: ClosingRequest, person: Person = ALICE) -> Submission:
    metadata = {"request": request.id, "channel": CHANNEL, "mode": Mode.SESSION.value}
    return Submission(closing_modal.CALLBACK, metadata, {}, person, CHANNEL, "T1", slack)


def extends(message: Message) -> str:
    """What the button under a call for a larger budget stands for."""
    value = message.payload()[-1]["elements"][0]["value"]
    assert isinstance(value, str)
    return value


def unshown(desk: Desk) -> list[ClosingRequest]:
    desk.clock.ahead += timedelta(seconds=31)  # whoever decided is not at it any more
    return desk.store.cards.unshown()


def test_a_press_that_comes_to_nothing_after_it_was_shown_gives_the_buttons_back(
    desk: Desk, slack: Slack, cards: ClosingCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sleepers(desk, 2)
    request = placed(desk, first, second)
    tamper(desk, request, 1, peer="127.0.0.1:1")
    looks = Console.looks

    def slow_then_away(*arguments: Any, **more: Any) -> object:
        desk.clock.ahead += timedelta(seconds=3)
        monkeypatch.setattr(Console, "looks", away)
        return looks(*arguments, **more)

    def away(*_: Any, **_more: Any) -> object:
        slack.settle()  # that is slower than Slack
        raise DataSourceUnreachableError("Data source demo cannot be reached.")

    monkeypatch.setattr(Console, "looks", slow_then_away)
    with pytest.raises(DataSourceUnreachableError):
        cards.confirm(press(slack, request.id), Mode.SESSION)
    assert "Closing …" in text_of({"blocks": slack.cards[0][1].payload()})
    assert "['Close Session', 'Cancel']" in slack.card
    assert desk.state(request) is State.OPEN
    assert unshown(desk) == []


def test_a_press_too_late_shows_what_became_of_the_request(desk: Desk, slack: Slack, cards: ClosingCards) -> None:
    request = placed(desk, *sleepers(desk, 1))
    desk.cancel(request.id, BOB)
    with pytest.raises(RequestError, match="was cancelled"):
        cards.confirm(press(slack, request.id), Mode.SESSION)
    assert "Nothing was closed." in slack.card
    assert unshown(desk) == []


def test_a_store_that_fails_while_the_card_is_put_right_does_not_hide_what_went_wrong_first(
    desk: Desk, slack: Slack, cards: ClosingCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = placed(desk, *sleepers(desk, 1))
    desk.cancel(request.id, BOB)

    def gone(_id: str) -> None:
        raise StoreError("The store does not answer.")

    def cancelled(*_: object, **_more: object) -> None:
        monkeypatch.setattr(desk.store.requests, "find", gone)
        raise RequestError("This closing request was cancelled.")

    monkeypatch.setattr(desk.closer, "confirm", cancelled)
    with pytest.raises(RequestError, match="was cancelled"):
        cards.confirm(press(slack, request.id), Mode.SESSION)


def test_a_result_that_the_card_did_not_take_is_told_to_the_presser_and_shown_to_all_later(
    desk: Desk, slack: Slack, cards: ClosingCards
) -> None:
    request = placed(desk, *sleepers(desk, 1))
    slack.takes = False
    cards.confirm_looked_at(submission(slack, request))
    assert [kind for kind, _ in slack.said] == ["private"]
    slack.takes = True
    assert [one.id for one in unshown(desk)] == [request.id]
    cards.tidy()
    assert slack.cards[-1][0] == PLACE
    assert "✅ closed" in slack.card
    assert unshown(desk) == []


def test_what_came_of_it_later_stands_on_the_card_even_if_slack_takes_it_late(
    desk: Desk, slack: Slack, cards: ClosingCards
) -> None:
    request = placed(desk, desk.runs("SELECT SLEEP(60)", bind_address="127.0.0.55").id)
    cards.confirm(press(slack, request.id), Mode.SESSION)
    again = desk.runs("SELECT SLEEP(60)", bind_address="127.0.0.55")
    slack.takes = False
    cards.follow()
    assert "✅ closed" in slack.card
    assert f"{again.id}" not in slack.card
    slack.takes = True
    desk.clock.ahead += timedelta(seconds=31)
    cards.tidy()
    assert f"came back as session {again.id}" in slack.card
    assert unshown(desk) == []


@pytest.mark.parametrize("takes", [True, False], ids=["over the newest", "instead of it"])
def test_an_old_result_that_is_shown_late_is_not_taken_for_the_newest(
    desk: Desk, slack: Slack, cards: ClosingCards, monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    request = placed(desk, desk.runs("SELECT SLEEP(60)", bind_address="127.0.0.56").id)
    done = confirm(desk, request)
    again = desk.runs("SELECT SLEEP(60)", bind_address="127.0.0.56")
    slack.takes = takes
    cards.follow()
    slack.takes = True
    with monkeypatch.context() as patch:
        patch.setattr(CardKeeper, "_newest", lambda _cards, request: request)  # the store fails when it is written
        cards.keeper.show_result(replace(done, card=PLACE), cards.keeper.message_of(done.id, None, PLACE))
        assert "✅ closed" in slack.card
        assert f"{again.id}" not in slack.card
    desk.clock.ahead += timedelta(seconds=31)
    cards.tidy()
    assert f"came back as session {again.id}" in slack.card


def test_a_request_of_a_data_source_that_is_configured_no_more_keeps_no_other_card_from_being_told(
    desk: Desk, slack: Slack, cards: ClosingCards
) -> None:
    sent, waiting = (
        replace(ask(desk, *sleepers(desk, 1)), id=name, source="removed", card=None) for name in ("sent", "waiting")
    )
    for old in (sent, waiting):
        desk.store.requests.add(old)
        desk.store.cards.place(old, CardPlace(CHANNEL, old.id))
    assert desk.store.decisions.claim(sent, ALICE, Mode.SESSION, desk.clock())
    desk.store.intents.intend(sent, sent.targets[0], "KILL 5", desk.clock())
    request = placed(desk, *sleepers(desk, 1))
    desk.clock.ahead += timedelta(minutes=3)
    replace(cards, closer=desk.restarted()).follow()
    assert "❓ unverified" in slack.card
    cards.tidy()
    told = {place.ts: text_of({"blocks": message.payload()}) for place, message in slack.cards[1:]}  # it may be twice
    assert {ts for ts, text in told.items() if "Nobody confirmed in time" in text} == {waiting.id, PLACE.ts}
    assert [desk.state(one) for one in (sent, waiting, request)] == [State.DONE, State.EXPIRED, State.EXPIRED]


def test_a_press_that_goes_on_is_not_shown_as_one_that_was_left(
    desk: Desk, slack: Slack, cards: ClosingCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = placed(desk, *sleepers(desk, 1))
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    stale = desk.store.requests.find(request.id)
    assert stale is not None
    desk.store.intents.intend(request, request.targets[0], "KILL 5", desk.clock())  # the press was only slow
    store = shared(desk)
    for one in (desk.store, store):
        monkeypatch.setattr(one.leases, "abandoned", lambda _carried_out: [stale])  # read right before
    other = desk.closer_of(store)
    other._attempts._hears_since -= LEASE.total_seconds()  # it was there before
    replace(cards, closer=other).follow()
    with desk.closer._attempts.taking(request.id):
        cards.follow()
    assert slack.cards == [], "it would say that nobody confirmed in time"
    assert desk.state(request) is State.CLAIMED


def test_what_a_stopped_bot_left_gets_its_buttons_back(desk: Desk, slack: Slack, cards: ClosingCards) -> None:
    request = placed(desk, *sleepers(desk, 1))
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    replace(cards, closer=desk.restarted()).follow()
    assert "The bot was interrupted before anything was sent. Nothing was closed. Press again." in slack.card
    assert "'Close Session'" in slack.card


def test_too_many_closes_call_for_somebody_who_allows_more(desk: Desk, slack: Slack, cards: ClosingCards) -> None:
    desk.rule(budget=Budget(1))
    request = placed(desk, *sleepers(desk, 2))
    with pytest.raises(BudgetError):
        cards.confirm(press(slack, request.id), Mode.SESSION)
    kind, message = slack.said[-1]
    assert (kind, buttons_of({"blocks": message.payload()})) == ("public", ["Extend budget"])
    assert f"You can ask: <@{BOB.id}>." in text_of({"blocks": message.payload()})
    cards.extend_budget(press(slack, extends(message), BOB))
    extended = f"<@{BOB.id}> extended the budget of demo by 1 closes, to 2 within 10 min. Press again. []"
    assert slack.card == extended
    with pytest.raises(RequestError, match=r"to 2 closes within 10 min\. Your press allows nothing more") as told:
        cards.extend_budget(press(slack, extends(message), BOB))
    assert told.value.first == BOB.id
    assert slack.card == extended
    cards.confirm(press(slack, request.id), Mode.SESSION)
    assert desk.state(request) is State.DONE


def test_a_call_for_more_that_is_over_loses_its_button(desk: Desk, slack: Slack, cards: ClosingCards) -> None:
    desk.rule(budget=Budget(1))
    with pytest.raises(BudgetError):
        cards.confirm(press(slack, placed(desk, *sleepers(desk, 2)).id), Mode.SESSION)
    desk.clock.ahead += timedelta(minutes=10)
    for value in (extends(slack.said[-1][1]), "demo"):  # an older version named the data source
        slack.cards.clear()
        with pytest.raises(RequestError, match="Your press allows nothing more"):
            cards.extend_budget(press(slack, value, BOB))
        assert slack.card.startswith("This call for a larger budget is over.")
        assert slack.card.endswith("[]")


def test_without_its_record_nobody_is_called_to_allow_more_and_the_presser_is_told_that_it_is_too_much(
    desk: Desk, slack: Slack, cards: ClosingCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("The store does not answer.")

    desk.rule(budget=Budget(1))
    request = placed(desk, *sleepers(desk, 2))
    monkeypatch.setattr(desk.budget, "call", away)
    with pytest.raises(BudgetError):
        cards.confirm(press(slack, request.id), Mode.SESSION)
    assert slack.said == []


def test_a_signature_that_the_card_did_not_take_is_shown_later(
    two_person_desk: Desk, slack: Slack, cards_of: MakeCards
) -> None:
    desk, cards = two_person_desk, cards_of(two_person_desk)
    request = placed(desk, *sleepers(desk, 1))
    desk.breaks_glass(request.id, ALICE, CHANNEL, "nobody is there")
    desk.clock.ahead += BREAK_GLASS_AFTER
    cards.confirm(press(slack, request.id), Mode.SESSION)
    assert "['Sign review']" in slack.card
    slack.takes = False
    cards.review(press(slack, request.id, BOB))
    slack.takes = True
    desk.clock.ahead += timedelta(seconds=31)
    cards.tidy()
    assert f"Reviewed by <@{BOB.id}>" in slack.card
    assert "[]" in slack.card


def test_the_dialog_of_a_second_person_shows_the_target_and_carries_the_press_out(
    two_person_desk: Desk, slack: Slack, cards_of: MakeCards
) -> None:
    desk, cards = two_person_desk, cards_of(two_person_desk)
    request = placed(desk, *sleepers(desk, 1))
    assert request.approval is ApprovalPolicy.SECOND_PERSON
    cards.look(press(slack, request.id, BOB), Mode.SESSION)
    assert "None of this has changed since the request." in slack.said[-1][1].text
    cards.confirm_looked_at(submission(slack, request, BOB))
    kept = desk.store.requests.find(request.id)
    assert kept is not None
    assert outcomes(kept) == [Outcome.CLOSED]
    assert "✅ closed" in slack.card
