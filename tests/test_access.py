"""Access rules: whatever no rule allows is denied, and rules only ever add."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.access import EVERYBODY, Access, Person, Right, Rule
from bot.errors import NotAllowedError

ALICE = Person("U01ALICE", "T01")
GUEST = Person("U03GUS", "T01")
STRANGER = Person("U09ELSE", "T99")
VIEW = frozenset({Right.VIEW})


@dataclass(frozen=True)
class Workspace:
    """A directory for tests: who is a full member of team T01, and who is in which group."""

    members: frozenset[str] = frozenset({"U01ALICE", "U02BOB"})
    dba: frozenset[str] = frozenset({"U02BOB"})

    def is_full_member(self, person: Person) -> bool:
        return person.team == "T01" and person.id in self.members

    def is_in_group(self, person: Person, group: str) -> bool:
        return group == "S0DBA" and person.id in self.dba


def access(*rules: Rule) -> Access:
    return Access(rules, Workspace())


def names(*given: str) -> frozenset[str]:
    return frozenset(given)


def test_without_a_rule_nobody_may_do_anything() -> None:
    for right in Right:
        with pytest.raises(NotAllowedError):
            access().scope(ALICE, right, "prod", "C01INC")


def test_a_rule_without_restrictions_allows_every_tenant_everywhere() -> None:
    assert access(Rule(names("U01ALICE"), VIEW)).scope(ALICE, Right.VIEW, "prod", "C99").tenants is None


@pytest.mark.parametrize("right", [Right.CLOSE, Right.APPROVE])
def test_seeing_is_not_closing(right: Right) -> None:
    with pytest.raises(NotAllowedError):
        access(Rule(names("U01ALICE"), VIEW)).scope(ALICE, right, "prod", "C01INC")


def test_closing_is_not_seeing() -> None:
    with pytest.raises(NotAllowedError):
        access(Rule(names("U01ALICE"), frozenset({Right.CLOSE}))).scope(ALICE, Right.VIEW, "prod", "C01INC")


def test_a_channel_of_a_rule_is_the_only_place_it_holds() -> None:
    rules = access(Rule(names("U01ALICE"), VIEW, channels=names("C01INC")))
    assert rules.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    for elsewhere in ("C02DBA", "", "c01inc"):
        with pytest.raises(NotAllowedError):
            rules.scope(ALICE, Right.VIEW, "prod", elsewhere)


def test_a_data_source_of_a_rule_is_the_only_one_it_holds_for() -> None:
    rules = access(Rule(names("U01ALICE"), VIEW, data_sources=names("prod")))
    assert rules.sources(ALICE, Right.VIEW, ["test", "prod"], "C01INC") == ["prod"]
    with pytest.raises(NotAllowedError, match="your Slack id is U01ALICE"):
        rules.sources(ALICE, Right.VIEW, ["test"], "C01INC")


def test_the_tenants_of_several_rules_are_united() -> None:
    rules = access(
        Rule(names("U01ALICE"), VIEW, tenants=names("shop")),
        Rule(names(EVERYBODY), VIEW, tenants=names("billing")),
        Rule(names("U02BOB"), VIEW, tenants=names("secret")),
        Rule(names("U01ALICE"), frozenset({Right.CLOSE}), tenants=names("other")),
    )
    assert rules.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants == names("shop", "billing")


def test_tenants_are_told_apart_by_case_and_no_tenant_is_none_of_them() -> None:
    rules = access(Rule(names("U01ALICE"), VIEW, tenants=names("shop")))
    rules.require(ALICE, Right.VIEW, "prod", "C01INC", "shop")
    for tenant in ("Shop", "shop ", "", None):
        with pytest.raises(NotAllowedError):
            rules.require(ALICE, Right.VIEW, "prod", "C01INC", tenant)


def test_a_group_lets_its_members_in_and_nobody_else() -> None:
    rules = access(Rule(names("S0DBA"), VIEW))
    assert rules.scope(Person("U02BOB", "T01"), Right.VIEW, "prod", "C01INC").tenants is None
    for person in (ALICE, GUEST, STRANGER):
        with pytest.raises(NotAllowedError):
            rules.scope(person, Right.VIEW, "prod", "C01INC")


def test_everybody_means_full_members_of_the_workspace() -> None:
    rules = access(Rule(names(EVERYBODY), VIEW))
    assert rules.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    for person in (GUEST, STRANGER, Person("U01ALICE", "T99"), Person("", "T01")):
        with pytest.raises(NotAllowedError):
            rules.scope(person, Right.VIEW, "prod", "C01INC")


def test_the_refusal_says_what_where_and_whom_to_ask() -> None:
    with pytest.raises(NotAllowedError, match=r"close sessions on prod .* no access rule .* U03GUS"):
        access(Rule(names(EVERYBODY), VIEW)).scope(GUEST, Right.CLOSE, "prod", "C01INC")


some = st.none() | st.frozensets(st.sampled_from(["a", "b", "c"]), min_size=1)
rule = st.builds(
    Rule,
    who=st.frozensets(st.sampled_from(["U01ALICE", "U02BOB", "U09ELSE", "S0DBA", EVERYBODY]), min_size=1),
    may=st.frozensets(st.sampled_from(Right), min_size=1),
    data_sources=some,
    tenants=some,
    channels=some,
)
person = st.sampled_from([ALICE, GUEST, STRANGER, Person("U02BOB", "T01")])
place = st.sampled_from(["a", "b", "c", "d"])


def allowed(rules: list[Rule], who: Person, right: Right, source: str, channel: str) -> set[str]:
    """Which of some tenants a person may reach; "" stands for a session without one."""
    try:
        scope = access(*rules).scope(who, right, source, channel)
    except NotAllowedError:
        return set()
    return {tenant or "" for tenant in ("a", "b", "c", "d", None) if scope.covers(tenant)}


@given(st.lists(rule, max_size=4), rule, st.integers(0, 4), person, st.sampled_from(Right), place, place)
def test_another_rule_never_takes_anything_away(
    rules: list[Rule], more: Rule, at: int, who: Person, right: Right, source: str, channel: str
) -> None:
    before = allowed(rules, who, right, source, channel)
    after = allowed([*rules[:at], more, *rules[at:]], who, right, source, channel)
    assert before <= after
    # And what it adds is what it would allow alone.
    assert after == before | allowed([more], who, right, source, channel)


@pytest.mark.parametrize("right", [Right.CLOSE, Right.APPROVE])
def test_on_a_read_only_data_source_nobody_closes_whatever_the_rules_say(right: Right) -> None:
    everything = Access([Rule(names("U01ALICE"), frozenset(Right))], Workspace(), {"prod"})
    with pytest.raises(NotAllowedError, match="Nothing is closed on prod: its configuration says read_only"):
        everything.scope(ALICE, right, "prod", "C01INC")
    assert everything.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    assert everything.scope(ALICE, right, "test", "C01INC").tenants is None
    assert set(everything.rights(ALICE, "prod", "C01INC")) == {Right.VIEW}


def test_that_a_data_source_is_read_only_is_told_to_those_who_see_it_and_to_nobody_else() -> None:
    rules = Access([Rule(names("U01ALICE"), frozenset(Right), names("test"))], Workspace(), {"prod"})
    for source in ("prod", "nowhere"):
        with pytest.raises(NotAllowedError) as told:
            rules.scope(ALICE, Right.CLOSE, source, "C01INC")
        assert str(told.value).startswith(f"You may not close sessions on {source} in this channel")


def test_that_nothing_is_closed_anywhere_is_told_to_those_who_see_something_there() -> None:
    rules = Access([Rule(names("U01ALICE"), VIEW)], Workspace(), {"prod"})
    with pytest.raises(NotAllowedError, match="Nothing is closed by this bot"):
        rules.sources(ALICE, Right.CLOSE, ["prod"], "C01INC")
    with pytest.raises(NotAllowedError, match="You may not close sessions in this channel"):
        rules.sources(GUEST, Right.CLOSE, ["prod"], "C01INC")
