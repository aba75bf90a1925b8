"""What is meant in a channel when nothing is named."""

from __future__ import annotations

import pytest

from bot.access import Sources
from bot.errors import InputError, PersonUnknownError, SourceOpenError
from bot.slack.arguments.session_query import parse
from bot.slack.defaults import ChannelDefault, Defaults

DEFAULTS = Defaults(
    "prod",
    {"C01INC": ChannelDefault("stage", "shop"), "C02DBA": ChannelDefault(tenant="billing"), "C03": ChannelDefault()},
)
ALL = ["prod", "stage", "test"]


@pytest.mark.parametrize(
    ("named", "channel", "allowed", "meant"),
    [
        ("test", "C01INC", ALL, "test"),
        (None, "C01INC", ALL, "stage"),
        (None, "C02DBA", ALL, "prod"),
        (None, "C99", ALL, "prod"),
    ],
)
def test_what_is_named_comes_before_the_channel_and_that_before_the_bot(
    named: str | None, channel: str, allowed: list[str], meant: str
) -> None:
    assert DEFAULTS.source_for(named, channel, allowed) == meant


def test_the_only_data_source_that_somebody_may_use_need_not_be_named() -> None:
    assert Defaults(None).source_for(None, "C01INC", ["test"]) == "test"


def test_several_data_sources_without_a_default_are_a_question_with_the_names() -> None:
    with pytest.raises(InputError) as told:
        Defaults(None).source_for(None, "C01INC", ALL)
    assert told.value.sentence == "Which data source? Name one with on=. You may use: prod, stage, test."
    assert parse(told.value.example.removeprefix("/sessions ")).query.source == "prod"


@pytest.mark.parametrize("named", ["nowhere", "prod"])
def test_a_data_source_that_is_forbidden_looks_like_one_that_does_not_exist(named: str) -> None:
    with pytest.raises(InputError) as told:
        DEFAULTS.source_for(named, "C01INC", ["test"])
    assert told.value.sentence.startswith(f"There is no data source {named} that you may use here.")
    assert told.value.spot == named


@pytest.mark.parametrize(
    ("allowed", "meant"),
    [(["prod", "test"], "prod"), (["test"], "test"), (["prod", "stage"], "stage")],
    ids=["the-bots", "the-only-one-left", "the-channels"],
)
def test_a_default_that_somebody_may_not_use_gives_way_to_the_next(allowed: list[str], meant: str) -> None:
    assert DEFAULTS.source_for(None, "C01INC", allowed) == meant


def test_defaults_that_somebody_may_not_use_are_not_named_in_the_question() -> None:
    with pytest.raises(SourceOpenError) as told:
        DEFAULTS.source_for(None, "C01INC", ["test", "spare"])
    assert told.value.choices == ("test", "spare")
    assert not {"prod", "stage"} & set(told.value.sentence.replace(",", " ").split())


def test_the_question_names_only_what_would_be_taken() -> None:
    with pytest.raises(SourceOpenError, match=r"Which data source.* You may use: spare"):
        Defaults(None).source_for(None, "C01INC", ["test", "spare"], offered=["spare"])
    with pytest.raises(InputError, match=r"There is no data source gone that you may use here.* You may use: spare"):
        Defaults(None).source_for("gone", "C01INC", ["test", "spare"], offered=["spare"])
    assert Defaults(None).source_for("test", "C01INC", ["test", "spare"], offered=["spare"]) == "test"


@pytest.mark.parametrize(
    ("source", "channel", "tenant"),
    [
        ("stage", "C01INC", "shop"),
        ("prod", "C01INC", None),
        ("prod", "C02DBA", "billing"),
        ("prod", "C03", None),
        ("prod", "C99", None),
    ],
)
def test_the_tenant_of_a_channel_is_meant_on_its_own_data_source_alone(
    source: str, channel: str, tenant: str | None
) -> None:
    assert DEFAULTS.tenant_for(source, channel) == tenant


def test_nothing_is_guessed_where_slack_did_not_say_what_somebody_may_use() -> None:
    usable = Sources()
    usable.append("spare")
    usable.unsaid["prod"] = PersonUnknownError("who you are", "rate limit", "try again")
    assert DEFAULTS.source_for("spare", "C99", usable) == "spare"
    for named in ("prod", None):  # prod is the default
        with pytest.raises(PersonUnknownError):
            DEFAULTS.source_for(named, "C99", usable)
    with pytest.raises(SourceOpenError, match="You may use: spare"):  # the only one that is known
        Defaults(None).source_for(None, "C99", usable)
