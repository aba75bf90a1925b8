"""From what people type to a query, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.sessions.model import SORTABLE, Condition, Field, Flag, Operator, SessionFilter, SessionQuery, Sort
from bot.sessions.states import STATES
from bot.slack.arguments import kill_arguments
from bot.slack.arguments.normalization import MAX_TYPED, normalize
from bot.slack.arguments.session_query import describe, named_source, parse
from commands import deadlocks, variables


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("tenant=sys active-only", "tenant=sys active-only"),
        ("sql=“select x”", 'sql="select x"'),
        ("sql=‘a b’", 'sql="a b"'),
        ("—active-only", "active-only"),
        ("--active-only", "active-only"),
        ("sort=—time", "sort=-time"),
        ("user＝app", "user=app"),
        ("user=app\u00a0time>5m", "user=app time>5m"),
        ("time > 5m  user = app , report", "time>5m user=app,report"),
        ("time&gt;90 time&lt;2h", "time>90s time<2h"),
        ("host=<http://db.example.com|db.example.com>", "host=db.example.com"),
        ("user=<mailto:a@b.c|a@b.c>", "user=a@b.c"),
        ('user="&lt;http://x&gt;"', 'user="<http://x>"'),
        ("u\u200bser=app", "user=app"),
        ("USER=App Active-Only", "user=App active-only"),
        ("time>0.5s", "time>0.5s"),
        ("time>1500ms", "time>1.5s"),
        ("time > 5 minutes active-only", "time>5m active-only"),
        ("time>5min time<2 Hours", "time>5m time<2h"),
        ("time>5 app", "time>5s any=app"),
        ("orders", "any=orders"),
        ('"update stock" idle', 'any="update stock" idle'),
        ("“idle”", "any=idle"),
        ("app 😀", "any=app any=😀"),
        ("3221487826", "id=3221487826"),
        ("3221487826,5", "id=3221487826,5"),
        ("10.0.3.7", "host=10.0.3.7"),
        ("10.0.3.7:51234", "host=10.0.3.7:51234"),
        ("fe80::1", "host=fe80::1"),
        ("[2001:db8::7]:2881", "host=[2001:db8::7]:2881"),
        ("status=sleep,ACTIVE", "status=SLEEP,ACTIVE"),
        ("id=3221487826,5", "id=3221487826,5"),
        ("limit=20 page=1", ""),
        ("sort=-SERVER", "sort=-server"),
    ],
)
def test_what_keyboards_and_slack_do_to_a_text_is_repaired(typed: str, understood: str) -> None:
    assert describe(parse(normalize(typed)).query) == understood


@pytest.mark.parametrize(
    ("typed", "sentence", "spot"),
    [
        ("colour=red", "There is no key “colour”", "colour=red"),
        ("tenant=a tenant=b", "tenant is given twice", "tenant=b"),
        ("active-only active-only", "active-only is given twice", "active-only"),
        ("active-only idle", "exclude each other", "idle"),
        ("blocked idle", "waiting and idle exclude each other", "idle"),
        ("active-only status=SLEEP", "exclude each other", "active-only"),
        ("time=>5m", "=> is not a comparison", "time=>"),
        ("time=5m", "Compare a time with > or <", "time=5m"),
        ("time>soon", "“soon” is not a duration", "time>soon"),
        ("time>5m time<1m", "No time is above the one and below the other", "time"),
        ("time>1 time>2", "time is given twice", "time>2"),
        ("user>5", "cannot be larger or smaller", "user>5"),
        ("id=abc", "is not a session id", "abc"),
        ("id=4294967299", "somebody else's id", "4294967299"),
        ("id=1", "is not a session id", "1"),
        ("id=١٢٣", "is not a session id", "١٢٣"),
        ("status=d%ad", "There is no status “d%ad”", "d%ad"),
        ("sort=colour", "cannot be sorted by “colour”", "colour"),
        ("limit=51", "limit is a number from 1 to 50", "51"),
        ("page=0", "page is a number", "0"),
        ("limit=5 limit=6", "limit is given twice", "limit=6"),
        ("limit=5,6", "limit takes one value", "limit=5,6"),
        ("user=", "user= has no value", "user="),
        ("user=,", "user= has no value", "user="),
        ('sql="never closed', "is never closed", '"never closed'),
        ("=x", "What stands before “=x”?", "=x"),
        ("any>x", "cannot be larger or smaller", "any>x"),
        ("4294967299", "somebody else's id", "4294967299"),
        ("5 id=6", "id is given twice", "id=6"),
        ('"never closed', "is never closed", '"never closed'),
    ],
)
def test_each_mistake_earns_its_sentence_its_spot_and_an_example_that_runs(
    typed: str, sentence: str, spot: str
) -> None:
    with pytest.raises(InputError) as told:
        parse(normalize(typed))
    assert sentence in told.value.sentence
    assert told.value.spot == spot
    assert_runs(told.value.example)


def assert_runs(example: str) -> None:
    """An example must be a command that can be typed as it stands."""
    name, _, words = example.partition(" ")
    assert name in ("/sessions", "/kill-session")
    parse(normalize(words)) if name == "/sessions" else kill_arguments.parse(normalize(words))


def test_on_names_a_data_source_for_every_command_without_a_note() -> None:
    assert parse("user=a,b on=prod").query == parse("user=a,b source=prod").query
    assert not parse("on=prod").notes
    assert named_source("deadlocks on=prod") == "prod"
    assert deadlocks.parse("on=prod").source == "prod"
    assert variables.parse("on=prod").source == "prod"
    assert kill_arguments.parse("5 on=prod") == kill_arguments.parse("5 source=prod")
    with pytest.raises(InputError, match="twice"):
        parse("on=prod source=crm")


def test_three_thousand_characters_are_refused_with_a_sentence() -> None:
    with pytest.raises(InputError, match="That is 3,000 characters; a command takes at most 1,000"):
        normalize("x" * 3000)
    assert normalize("x" * MAX_TYPED)


@pytest.mark.parametrize(
    ("typed", "read"),
    [("tenat=x", "tenant=x"), ("database=x", "db=x"), ("activ-only", "active-only"), ("ip=10.0", "host=10.0")]
    + [(word, "waiting") for word in ("blocked", "locked", "lock", "waitng")]
    + [(word, "blocking") for word in ("blockers", "blocker", "bloking")],
)
def test_a_slip_is_corrected_and_said(typed: str, read: str) -> None:
    parsed = parse(typed)
    assert describe(parsed.query) == read
    assert len(parsed.notes) == 1
    assert "was read as" in parsed.notes[0]


@pytest.mark.parametrize("word", ["rating", "booking", "writing", "training", "blocks", "clock"])
def test_a_word_that_tables_are_called_by_is_no_slip_of_a_flag(word: str) -> None:
    assert describe(parse(word).query) == f"any={word}"


@given(st.text(max_size=80) | st.text(st.sampled_from("useridtm=<>!,\"' -5h|“"), max_size=40))
def test_no_text_at_all_raises_anything_but_a_sentence(text: str) -> None:
    try:
        query = parse(normalize(text)).query
    except InputError as error:
        if error.example:
            assert_runs(error.example)
    else:
        assert parse(describe(query)).query == query


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(str.strip)
texts = st.lists(words, min_size=1, max_size=3).map(tuple)
ids = st.lists(st.integers(2, 2**32 - 1), min_size=1, max_size=3).map(tuple)
equal = st.sampled_from([Operator.CONTAINS, Operator.NOT, Operator.EXACTLY])
compared = st.sampled_from([Operator.ABOVE, Operator.AT_LEAST])
TEXT_FIELDS = [field for field in Field if field not in (Field.ID, Field.STATUS, Field.TIME)]
conditions = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(TEXT_FIELDS),
        equal,
        texts,
    ),
    st.builds(Condition, st.just(Field.ID), equal, ids),
    st.builds(
        Condition,
        st.just(Field.STATUS),
        equal,
        st.sampled_from([*STATES[1:], "ROLLING_BACK", "INVALID SESSION STATE"]).map(lambda state: (state,)),
    ),
    st.builds(Condition, st.just(Field.TIME), compared, st.integers(0, 10**6).map(lambda tenth: (tenth / 10,))),
)
queries = st.builds(
    SessionQuery,
    source=st.none() | words,
    filter=st.builds(
        SessionFilter,
        st.lists(conditions, max_size=4, unique_by=lambda condition: condition.field).map(tuple),
        st.sampled_from([frozenset(), frozenset({Flag.IDLE}), frozenset({Flag.IN_TRANSACTION})]),
    ),
    sort=st.sampled_from([Sort(), *(Sort(field, down) for field in SORTABLE for down in (False, True))]),
    limit=st.integers(1, 50),
    page=st.integers(1, 999),
    private=st.booleans(),
    text=st.booleans(),
)


@given(queries)
def test_every_question_is_written_so_that_it_reads_back_the_same(query: SessionQuery) -> None:
    assert parse(describe(query)).query == query
