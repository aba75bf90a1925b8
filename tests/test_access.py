"""Access rules: whatever no rule allows is denied, and rules only ever add."""

from collections.abc import Collection
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.access import EVERY_TENANT, EVERYBODY, Access, Person, Right, Rule, Scope
from bot.errors import NotAllowedError, PersonUnknownError

ALICE = Person("U01ALICE", "T01")
GUEST = Person("U03GUS", "T01")
STRANGER = Person("U09ELSE", "T99")
VIEW = frozenset({Right.VIEW})


@dataclass(frozen=True)
class Workspace:
    """A directory for tests: who is a full member of team T01, and who is in which group."""

    full: frozenset[str] = frozenset({"U01ALICE", "U02BOB"})
    dba: frozenset[str] = frozenset({"U02BOB"})

    def is_internal(self, person: Person) -> bool:
        return person.team == "T01"

    def is_full_member(self, person: Person) -> bool:
        return self.is_internal(person) and person.id in self.full

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        return person.id in self.members(group)

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        return self.dba if group == "S0DBA" else frozenset()


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


def test_somebody_external_may_nothing_even_where_a_rule_has_their_id() -> None:
    rules = access(Rule(names("U01ALICE", STRANGER.id), VIEW))
    for person in (STRANGER, Person("U01ALICE", "T99")):
        with pytest.raises(NotAllowedError, match="works only for members"):
            rules.rules_of(person)
        with pytest.raises(NotAllowedError, match=r"^This bot works only for members .* Ask one of them to do this\.$"):
            rules.scope(person, Right.VIEW, "prod", "C01INC")
        with pytest.raises(NotAllowedError, match="works only for members"):
            rules.sources(person, Right.VIEW, ["prod"], "C01INC")


def test_an_id_without_its_team_is_nobody_in_particular() -> None:
    rules = Access([Rule(names("U01ALICE"), VIEW)], SilentSlack())
    with pytest.raises(PersonUnknownError, match="Slack did not say who you are"):
        rules.scope(Person("U01ALICE", ""), Right.VIEW, "prod", "C01INC")
    with pytest.raises(NotAllowedError, match="no access rule allows it"):
        rules.scope(Person("U01ALICE", ""), Right.CLOSE, "prod", "C01INC")


def test_everybody_means_full_members_of_the_workspace() -> None:
    rules = access(Rule(names(EVERYBODY), VIEW))
    assert rules.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    for person in (GUEST, STRANGER, Person("U01ALICE", "T99"), Person("", "T01")):
        with pytest.raises(NotAllowedError):
            rules.scope(person, Right.VIEW, "prod", "C01INC")


def test_the_refusal_says_what_where_and_whom_to_ask() -> None:
    with pytest.raises(NotAllowedError, match=r"close sessions on prod .* no access rule .* U03GUS"):
        access(Rule(names(EVERYBODY), VIEW)).scope(GUEST, Right.CLOSE, "prod", "C01INC")


BOB = Person("U02BOB", "T01")


def sees(person: Person, *tenants: str) -> Rule:
    """A rule that lets somebody see those tenants, without any named every one."""
    return Rule(names(person.id), VIEW, tenants=names(*tenants) if tenants else None)


def scope(*tenants: str) -> Scope:
    return Scope(names(*tenants))


@pytest.mark.parametrize(
    ("asker", "presser", "about", "kept"),
    [
        (sees(ALICE), sees(BOB), None, Scope(None)),
        (sees(ALICE, "shop"), sees(BOB, "shop"), None, scope("shop")),
        (sees(ALICE, "shop"), sees(BOB), None, scope("shop")),
        (sees(ALICE, "shop"), sees(BOB, "shop", "billing"), None, scope("shop")),
        (sees(ALICE), sees(BOB), names("shop"), Scope(None)),
        (sees(ALICE), sees(BOB, "shop"), names("shop"), scope("shop")),
        (sees(ALICE, "shop", "crm"), sees(BOB, "shop", "billing"), names("shop", "billing"), scope("shop")),
    ],
)
def test_a_public_message_keeps_its_askers_view_whoever_presses(
    asker: Rule, presser: Rule, about: frozenset[str] | None, kept: Scope
) -> None:
    then = Scope(asker.tenants).digest
    assert access(asker, presser).kept_view(ALICE, then, BOB, "prod", "C01INC", about) == kept


@pytest.mark.parametrize(
    ("asker", "presser", "about"),
    [
        (sees(ALICE), sees(BOB, "shop"), None),
        (sees(ALICE), sees(BOB, "shop"), names("shop", "billing")),
        (sees(ALICE, "shop", "billing"), sees(BOB, "shop"), None),
        (sees(ALICE), sees(BOB, "shop"), names("Shop")),
        (sees(ALICE), sees(GUEST), None),
    ],
)
def test_who_sees_less_than_a_message_shows_is_refused_without_a_name(
    asker: Rule, presser: Rule, about: frozenset[str] | None
) -> None:
    with pytest.raises(NotAllowedError, match=r"You may not see all .* Run the command yourself") as told:
        access(asker, presser).kept_view(ALICE, Scope(asker.tenants).digest, BOB, "prod", "C01INC", about)
    for name in ("shop", "billing", "prod", ALICE.id):
        assert name not in told.value.sentence


@pytest.mark.parametrize(
    ("then", "now", "about", "sentence"),
    [
        (Scope(None), [], None, "Whoever asked for this may not see it"),
        (Scope(None), [sees(ALICE, "shop")], names("billing"), "Whoever asked for this may not see it"),
        (scope("shop"), [sees(ALICE, "billing")], None, "The access rules have changed"),
        (scope("shop"), [sees(ALICE)], None, "The access rules have changed"),
        (scope("shop", "billing"), [sees(ALICE, "shop")], None, "The access rules have changed"),
        (scope("shop"), [sees(ALICE, "shop", "billing")], names("shop"), "The access rules have changed"),
    ],
)
def test_a_message_whose_askers_rights_are_others_by_now_stays(
    then: Scope, now: list[Rule], about: frozenset[str] | None, sentence: str
) -> None:
    for presser in (ALICE, BOB):
        with pytest.raises(NotAllowedError, match=sentence):
            access(*now, sees(BOB)).kept_view(ALICE, then.digest, presser, "prod", "C01INC", about)


def test_who_saw_every_tenant_and_sees_fewer_by_now_has_a_message_that_shows_fewer() -> None:
    rules = access(sees(ALICE, "shop"), sees(BOB, "shop"))
    assert rules.kept_view(ALICE, EVERY_TENANT, BOB, "prod", "C01INC", None) == scope("shop")


def test_a_digest_tells_scopes_apart_and_not_their_order() -> None:
    assert scope("shop", "billing").digest == scope("billing", "shop").digest
    digests = {one.digest for one in (Scope(None), scope(), scope("all"), scope("a", "b"), scope("a,b"), scope("a"))}
    assert len(digests) == 6


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


@given(
    st.lists(rule, max_size=4),
    st.lists(rule, max_size=4),
    person,
    person,
    place,
    place,
    st.none() | st.frozensets(st.sampled_from(["a", "b", "d"]), min_size=1),
)
def test_a_kept_view_is_within_the_askers_rights_of_then_and_of_now_and_within_the_pressers(
    before: list[Rule],
    after: list[Rule],
    asker: Person,
    presser: Person,
    source: str,
    channel: str,
    about: frozenset[str] | None,
) -> None:
    then = access(*before).rights(asker, source, channel).get(Right.VIEW, Scope(frozenset()))
    now = access(*after)
    try:
        kept = now.kept_view(asker, then.digest, presser, source, channel, about)
    except NotAllowedError:
        return
    assert then.includes(kept)
    for somebody in (asker, presser):
        assert now.scope(somebody, Right.VIEW, source, channel).includes(kept)


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


def test_who_may_approve_each_tenant_by_rules_of_its_own_is_named_for_all_of_them() -> None:
    rules = access(
        Rule(names("U02BOB"), frozenset({Right.APPROVE}), tenants=names("shop")),
        Rule(names("U02BOB", "S0DBA"), frozenset({Right.APPROVE}), tenants=names("billing")),
    )
    assert rules.named(Right.APPROVE, "prod", ["shop", "billing"], "C01INC") == ("U02BOB",)
    assert rules.people(Right.APPROVE, "prod", ["billing"], "C01INC", besides=ALICE) == ("U02BOB",)


def test_in_a_direct_message_everybody_is_nobody() -> None:
    rules = access(Rule(names("*", "U02BOB"), frozenset({Right.APPROVE})))
    assert rules.who(Right.APPROVE, "prod", "shop", "D01ALICE") == {"U02BOB"}
    assert rules.who(Right.APPROVE, "prod", "shop", "C01INC") == {"*", "U02BOB"}


def test_where_to_ask_names_channels_in_which_one_may_close_and_somebody_else_approves() -> None:
    rules = access(
        Rule(names("U01ALICE"), frozenset({Right.CLOSE}), channels=names("C01INC", "C02DBA", "C03ALONE")),
        Rule(names("U01ALICE"), frozenset({Right.APPROVE}), channels=names("C03ALONE")),
        Rule(names("U02BOB"), frozenset({Right.APPROVE}), channels=names("C02DBA", "C04OTHER")),
    )
    assert rules.channels_to_ask_in(ALICE, "prod", "shop") == ("C02DBA",)


@dataclass
class SilentSlack:
    """A Slack that says nothing of anybody but of the groups in ``dba``; it counts how often it is asked."""

    dba: frozenset[str] | None = None
    asked: int = 0

    def is_internal(self, person: Person) -> bool:
        if not person.team:
            raise _unsaid()
        return person.team == "T01"

    def is_full_member(self, person: Person) -> bool:
        self.asked += 1
        raise _unsaid()

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        return person.id in self.members(group)

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        self.asked += 1
        if self.dba is None:
            raise _unsaid()
        return self.dba


def _unsaid() -> PersonUnknownError:
    return PersonUnknownError("who you are", "rate limit, 30 s", "try again in 30 s")


SENTENCE = "Slack did not say who you are (rate limit, 30 s). Nothing was done; try again in 30 s."
CLOSES = frozenset({Right.VIEW, Right.CLOSE})


@pytest.mark.parametrize("who", ["*", "S0DBA"])
def test_what_slack_does_not_say_is_told_as_not_known_and_not_as_not_allowed(who: str) -> None:
    rules = Access([Rule(names(who), CLOSES)], SilentSlack())
    for ask in (
        lambda: rules.scope(ALICE, Right.CLOSE, "prod", "C01INC"),
        lambda: rules.require(ALICE, Right.CLOSE, "prod", "C01INC", "shop"),
        lambda: rules.sources(ALICE, Right.VIEW, ["prod"], "C01INC"),
        lambda: rules.rights(ALICE, "prod", "C01INC"),
        lambda: rules.rules_of(ALICE),
        lambda: rules.kept_view(ALICE, EVERY_TENANT, ALICE, "prod", "C01INC", None),
    ):
        with pytest.raises(PersonUnknownError, match="Slack did not say who"):
            ask()
    with pytest.raises(PersonUnknownError) as told:
        rules.scope(ALICE, Right.CLOSE, "prod", "C01INC")
    assert str(told.value) == SENTENCE


def test_who_asked_for_a_message_is_told_apart_from_who_presses() -> None:
    rules = Access([Rule(names("U02BOB"), VIEW), Rule(names("*"), VIEW)], SilentSlack())
    bob = Person("U02BOB", "T01")
    with pytest.raises(PersonUnknownError, match="Slack did not say who the person is who asked for this"):
        rules.kept_view(ALICE, EVERY_TENANT, bob, "prod", "C01INC", None)
    with pytest.raises(PersonUnknownError, match="Slack did not say who you are"):
        rules.kept_view(bob, EVERY_TENANT, ALICE, "prod", "C01INC", None)


def test_slack_is_asked_for_nothing_that_a_rule_with_an_id_allows() -> None:
    slack = SilentSlack()
    rules = Access([Rule(names("*", "S0DBA"), VIEW), Rule(names("U01ALICE"), VIEW)], slack)
    assert rules.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    limited = Access([Rule(names("*"), VIEW, tenants=names("shop")), Rule(names("U01ALICE"), VIEW)], slack)
    assert limited.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    assert slack.asked == 0


def test_what_the_rules_deny_whoever_it_is_stays_denied() -> None:
    rules = Access([Rule(names("*"), VIEW, data_sources=names("prod"), channels=names("C01INC"))], SilentSlack())
    for right, source, channel in (
        (Right.CLOSE, "prod", "C01INC"),
        (Right.VIEW, "test", "C01INC"),
        (Right.VIEW, "prod", "C02DBA"),
    ):
        with pytest.raises(NotAllowedError):
            rules.scope(ALICE, right, source, channel)


def test_of_one_tenant_is_known_what_of_another_is_not() -> None:
    by_id = Rule(names("U01ALICE"), CLOSES, tenants=names("shop"))
    rules = Access([by_id, Rule(names("*"), CLOSES, tenants=names("shop", "billing"))], SilentSlack())
    rules.require(ALICE, Right.CLOSE, "prod", "C01INC", "shop")
    with pytest.raises(PersonUnknownError):
        rules.require(ALICE, Right.CLOSE, "prod", "C01INC", "billing")
    with pytest.raises(NotAllowedError):
        rules.require(ALICE, Right.CLOSE, "prod", "C01INC", "crm")
    # A list of what is known would say of the rest that it is not there.
    with pytest.raises(PersonUnknownError):
        rules.scope(ALICE, Right.VIEW, "prod", "C01INC")
    assert rules.rights(ALICE, "prod", "C01INC")[Right.VIEW].tenants == names("shop")
    assert Access([by_id, Rule(names("*"), CLOSES, tenants=names("shop"))], SilentSlack()).scope(
        ALICE, Right.VIEW, "prod", "C01INC"
    ).tenants == names("shop")


def test_what_is_not_known_of_one_data_source_takes_no_other_away() -> None:
    rules = Access(
        [
            Rule(names("U01ALICE"), CLOSES, data_sources=names("prod")),
            Rule(names("*"), VIEW, data_sources=names("test")),
            Rule(names("U01ALICE"), VIEW, data_sources=names("crm")),
        ],
        SilentSlack(),
    )
    usable = rules.sources(ALICE, Right.VIEW, ["test", "prod", "crm"], "C01INC")
    assert (usable, list(usable.unsaid)) == (["prod", "crm"], ["test"])
    assert usable.has("prod")
    assert not usable.has("other")
    with pytest.raises(PersonUnknownError):
        usable.has("test")
    assert rules.sources(ALICE, Right.CLOSE, ["test", "prod", "crm"], "C01INC") == ["prod"]
    slack = SilentSlack()
    many = [f"test{number}" for number in range(9)]
    everywhere = Access([Rule(names("*"), CLOSES), Rule(names("U01ALICE"), VIEW, data_sources=names("test8"))], slack)
    assert everywhere.sources(ALICE, Right.CLOSE, many, "C01INC", Right.VIEW) == ["test8"]
    assert slack.asked == 1, "an answer that does not come is waited for once"
    either = rules.sources(ALICE, Right.CLOSE, ["test", "prod", "crm"], "C01INC", Right.VIEW)
    assert (either, list(either.unsaid)) == (["prod", "crm"], ["test"])
    with pytest.raises(PersonUnknownError):
        rules.sources(ALICE, Right.VIEW, ["test"], "C01INC")


def test_what_somebody_may_by_one_of_several_rights_is_known_as_far_as_each_is() -> None:
    approve = frozenset({Right.APPROVE})
    rules = [
        Rule(names("U01ALICE"), CLOSES, tenants=names("shop")),
        Rule(names("S0DBA"), approve, tenants=names("billing")),
    ]
    both = (Right.CLOSE, Right.APPROVE)
    scope = Access(rules, SilentSlack()).any_scope(ALICE, both, "prod", "C01INC")
    assert scope.covers("shop")
    assert not scope.covers("crm")
    with pytest.raises(PersonUnknownError):
        scope.covers("billing")
    told = Access(rules, SilentSlack(dba=names("U01ALICE")))
    assert told.any_scope(ALICE, both, "prod", "C01INC").tenants == names("shop", "billing")
    read_only = Access(rules, SilentSlack(), read_only=["prod"])
    assert read_only.any_scope(ALICE, both, "prod", "C01INC") == Scope(frozenset())


def test_one_group_that_slack_tells_is_enough() -> None:
    rules = Access([Rule(names("*", "S0DBA"), VIEW)], SilentSlack(dba=names("U01ALICE")))
    assert rules.scope(ALICE, Right.VIEW, "prod", "C01INC").tenants is None
    with pytest.raises(PersonUnknownError):
        rules.scope(GUEST, Right.VIEW, "prod", "C01INC")


def test_nobody_to_be_called_is_not_said_of_a_group_that_slack_does_not_tell() -> None:
    may = frozenset({Right.APPROVE})
    rules = Access([Rule(names("U01ALICE", "S0DBA"), may)], SilentSlack())
    with pytest.raises(PersonUnknownError):
        rules.people(Right.APPROVE, "prod", ["shop"], "C01INC", besides=ALICE)
    others = Access([Rule(names("U02BOB", "S0DBA"), may)], SilentSlack())
    assert others.people(Right.APPROVE, "prod", ["shop"], "C01INC", besides=ALICE) == ("U02BOB",)
