"""A condition is never lost in the list of values before it: it counts as one, or it is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.sessions.model import SessionFilter, SessionQuery
from bot.slack.arguments import kill_arguments
from bot.slack.arguments.kill_arguments import KillArguments
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import describe, parse
from commands import audit, deadlocks, statistics, variables


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("tenant=shop, user=report", "tenant=shop user=report"),
        ("user=app,time>10m", "user=app time>10m"),
        ("user=app , time > 10 minutes", "user=app time>10m"),
        ("user=app,\ntime>10m", "user=app time>10m"),
        ("USER=app,Time>10m", "user=app time>10m"),
        ("user =app,host !=10.0", "user=app host!=10.0"),
        ("user=app，time＞10m", "user=app time>10m"),
        ("user=app、report、time≥10m", "user=app,report time>=10m"),
        ('user="app",time>"10m"', "user=app time>10m"),
        ("user=app,report,--time>10m,db=x,y", "user=app,report time>10m db=x,y"),
        ("user=app,time>10m,time<2h", "user=app time>10m time<2h"),
        ("user=app,tenat=shop", "user=app tenant=shop"),
        ("user=app,ip=10.0.3", "user=app host=10.0.3"),
        ("user=app,sql_id=A1", "user=app sql-id=A1"),
        ("user=app, tenant: shop", "user=app tenant=shop"),
        ("user=app,tenat:shop", "user=app tenant=shop"),
        ("source=prod,user=app,limit=5,sort=-time", "on=prod user=app sort=-time limit=5"),
        ("user=app,active-only", "user=app active-only"),
        ("user=app, --Idle", "user=app idle"),
        ("user=app,activ-only", "user=app active-only"),
        ("user=app,active", "user=app active-only"),
        ("user=app,idel,text", "user=app idle text"),
        ("user=app,in_transaction,private", "user=app in-transaction private"),
        ("active-only,time>10m", "time>10m active-only"),
        ("active-only, time>10m", "time>10m active-only"),
        ("active-only , time>10m", "time>10m active-only"),
        ("orders,active-only", "any=orders active-only"),
        ("3221487826,5,user=app", "id=3221487826,5 user=app"),
        ("user=app, and time>10m", "user=app time>10m"),
        ("user=app and time>10m AND idle", "user=app time>10m idle"),
        ("user=app && time>10m & idle", "user=app time>10m idle"),
        ("user=app&time>10m", "user=app time>10m"),
        ("user=app&&idle", "user=app idle"),
        ("active-only&time>10m", "time>10m active-only"),
        ("user:app tenant: shop", "user=app tenant=shop"),
    ],
)
def test_a_condition_after_a_comma_is_one_of_its_own_in_a_list_and_that_is_said(typed: str, understood: str) -> None:
    parsed = parse(normalize(typed))
    assert describe(parsed.query) == understood
    assert parsed.notes


def test_the_note_names_what_was_typed_and_how_it_was_read() -> None:
    assert parse("tenant=shop, user=report").notes == (
        "“user=report” after the comma was read as a condition of its own.",
    )
    assert parse("user=app,tenat=shop,activ-only").notes == (
        "“tenat=shop” after the comma was read as a condition of its own: tenant=shop.",
        "“activ-only” after the comma was read as a condition of its own: active-only.",
    )
    assert parse("user:app").notes == ("“user:app” was read as user=app.",)
    assert parse("user=app && idle").notes == ("“&&” was ignored: all conditions must hold anyway.",)


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ('user="a,b=c"', 'user="a,b=c"'),
        ('user=app,"time>10m"', 'user=app,"time>10m"'),
        ("user=app,'idle'", 'user=app,"idle"'),
        ('db=shop,"activ-only"', 'db=shop,"activ-only"'),
        ('db=shop,"and"', 'db=shop,"and"'),
        ("sql=id=5", 'sql="id=5"'),
        ("sql=a&b", 'sql="a&b"'),
        ('sql="a;b"', 'sql="a;b"'),
        ("user=dGVzdA==,dGVzdB==", 'user="dGVzdA==","dGVzdB=="'),
        ("status=sleep,active", "status=SLEEP,ACTIVE"),
        ("command=sleep,query", 'command=sleep,"query"'),
        ("db=shop,test", "db=shop,test"),
        ("db=orders,user", "db=orders,user"),
        ("server=hosta:2881,hostb:2881", 'server=hosta:2881,"hostb:2881"'),
        ("host=fe80::1,db::1", "host=fe80::1,db::1"),
        ("user=text", "user=text"),
        ("user=app; time>10m;", "user=app time>10m"),
        ("KILL;", "any=KILL"),
        ("fe80::1", "host=fe80::1"),
        ("http://x", "any=http://x"),
    ],
)
def test_a_value_that_looks_like_one_is_taken_as_it_stands_in_quotes(typed: str, understood: str) -> None:
    query = parse(normalize(typed)).query
    assert describe(query) == understood
    assert parse(understood).query == query


@pytest.mark.parametrize(
    ("typed", "sentence", "spot"),
    [
        ("sql=a,b=c", "There is no key “b”", "b=c"),
        ("user=app, colour > 5", "If it is a value, put it in quotes", "colour > 5"),
        ("user=app,<10m", "“<10m” after the comma is not a condition", "<10m"),
        ("user=app,(time>10m)", "put it in quotes", "(time>10m)"),
        ("tenant!= user=app", "tenant!= has no value", "tenant!="),
        ("tenant!= active-only", "tenant!= has no value", "tenant!="),
        ("user=app,", "user= has no value", "user="),
        ("user=app,,time>10m", "user= has no value", "user="),
        ("user=app, ,idle", "user= has no value", "user="),
        ("user=app or time>10m", "“or” is not supported", "or"),
        ("user=app, OR idle", "“OR” is not supported", "OR"),
        ("user=app || idle", "“||” is not supported", "||"),
        ("user=app|time>10m", "“|” is not supported", "|"),
        ("tenant=shop not user=app", "use !=", "not"),
        ("user=app,user=report", "user is given twice", "user=report"),
        ("active-only,idle", "exclude each other", "idle"),
        (",user=app", "What stands before", ",user=app"),
    ],
)
def test_what_is_neither_a_value_nor_a_condition_is_an_error(typed: str, sentence: str, spot: str) -> None:
    with pytest.raises(InputError) as told:
        parse(normalize(typed))
    assert sentence in str(told.value)
    assert told.value.spot == spot


@pytest.mark.parametrize(
    ("typed", "mended"),
    [
        ("where tenant=shop, user=report", "where tenant=shop user=report"),
        ("where user=app,time>10m", "where user=app time>10m"),
        ("where user=app,report , time > 10 m query", "where user=app,report time>10 m query"),
        ("where user=app，time＞10m", "where user=app time>10m"),
        ("where user=app、time>10m", "where user=app time>10m"),
        ("where tenant=shop,\nuser=report", "where tenant=shop user=report"),
        ("where tenant=shop,usr=report", "where tenant=shop user=report"),
        ("where tenant=shop,ip=10.0", "where tenant=shop host=10.0"),
        ("where tenant=shop, user:report", "where tenant=shop user=report"),
        ("where tenant=shop,activ-only", "where tenant=shop active-only"),
        ("where tenant=shop,idla", "where tenant=shop idle"),
        ("where tenant=shop,idle", "where tenant=shop idle"),
        ("where tenant=shop,query", "where tenant=shop query"),
        ("where command=sleep,query", "where command=sleep query"),
        ("where tenant=shop,reason=stuck", "where tenant=shop reason=stuck"),
        ("tenant=shop,where user=report", "tenant=shop where user=report"),
        ("where active-only,time>10m", "where active-only time>10m"),
        ("where, user=report", "where user=report"),
        ("where tenant=shop and user=report", "where tenant=shop user=report"),
        ("where tenant=shop, and user=report", "where tenant=shop user=report"),
        ("where tenant=shop && user=report", "where tenant=shop user=report"),
        ("where tenant=shop&user=report", "where tenant=shop user=report"),
        ("where tenant=shop&&idle", "where tenant=shop idle"),
        ("where user:report", "where user=report"),
        ("where user!=app|report", 'where user!="app|report"'),
        ("where user!=app/time>10m", 'where user!="app/time>10m"'),
        ("where sql=id=5", 'where sql="id=5"'),
        ("1234,tenant=shop", "1234 tenant=shop"),
        ("1234, tenant=shop", "1234 tenant=shop"),
        ("1234,1235 , reason=stuck", "1234,1235 reason=stuck"),
        ("1234 tenant=shop,reason=stuck", "1234 tenant=shop reason=stuck"),
        ("1234,query", "1234 query"),
        ("1234, override reason=x", "1234 override reason=x"),
        ("1234 tenant=shop,query", "1234 tenant=shop query"),
        ("1234 tenant:shop", "1234 tenant=shop"),
        ("1234 and 1235", "1234 1235"),
    ],
)
def test_on_a_close_it_is_an_error_that_shows_the_mended_command(typed: str, mended: str) -> None:
    with pytest.raises(InputError, match=r"Nothing was closed\. Did you mean this\?") as told:
        kill_arguments.parse(normalize(typed))
    assert told.value.example == f"/kill-session {mended}"
    assert told.value.spot in normalize(typed)
    assert kill_arguments.parse(mended)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("1234, user=report", "There is no key “user” here"),
        ("1234,user=report", "There is no key “user” here"),
        ("where tenant=shop, colour=red", "There is no key “colour”"),
        ("where tenant=shop, text", "text is for lists"),
        ("where tenant=shop or user=report", "“or” is not supported"),
        ("where tenant=shop|user=report", "“|” is not supported"),
        ("where tenant=shop not user=report", "use !="),
        ("where tenant!= user=report", "tenant!= has no value"),
        ("where tenant=shop,,user=report", "tenant= has no value"),
        ("where tenant=shop,", "tenant= has no value"),
        ("where tenant=shop;report", "has no key"),
        ("tenant=shop, 1234", "tenant takes one value"),
    ],
)
def test_on_a_close_nothing_is_guessed_that_cannot_be_mended(typed: str, sentence: str) -> None:
    with pytest.raises(InputError) as told:
        kill_arguments.parse(normalize(typed))
    assert sentence in str(told.value)
    assert "Nothing was closed" in str(told.value)
    assert told.value.spot in normalize(typed)


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ('where user="a,b=c"', 'user="a,b=c"'),
        ('where user=app,"time>10m"', 'user=app,"time>10m"'),
        ('where command=sleep,"query"', 'command=sleep,"query"'),
        ("where status=sleep,active", "status=SLEEP,ACTIVE"),
        ("where tenant=shop; user=report;", "tenant=shop user=report"),
        ("where server=hosta:2881,hostb:2881", 'server=hosta:2881,"hostb:2881"'),
    ],
)
def test_a_close_takes_what_cannot_be_read_in_two_ways(typed: str, where: str) -> None:
    arguments = kill_arguments.parse(normalize(typed))
    assert arguments.where is not None
    assert describe(arguments.where) == where


def test_other_commands_read_a_comma_alike() -> None:
    assert statistics.parse("tenant=shop, by=db,active-only").notes == (
        "“by=db” after the comma was read as a condition of its own.",
        "“active-only” after the comma was read as a condition of its own.",
    )
    assert variables.parse("like=time,global").everywhere
    assert variables.parse("like=time,global").notes
    assert deadlocks.parse("since=2h,tenant=shop").tenant == "shop"
    assert deadlocks.parse("since=2h,tenant=shop").notes
    assert audit.parse("by=me,since=2h,csv").csv
    assert len(audit.parse("by=me,since=2h,csv").notes) == 2


# --- Whatever condition is left out of what was typed, the echo changes or it was an error.

KEYS = [
    "user",
    "tenant",
    "db",
    "host",
    "sql",
    "id",
    "status",
    "command",
    "time",
    "source",
    "usr",
    "tenat",
    "ip",
    "sql_id",
    "USER",
    "--user",
    "colour",
    "any",
]
SIGNS = ["=", "==", "!=", ">", "<", ">=", " = ", " != ", " >", "= ", ":", ": ", "=>", "≥", "~"]
VALUES = [
    "app",
    "a,b",
    "a, b",
    '"a b"',
    "'it''s'",
    '"a,b=c"',
    "a=b",
    "a&b",
    "a|b",
    "5m",
    "7",
    "10 minutes",
    "ACTIVE",
    "sleep,active",
    "10.0.3.7:51234",
    "fe80::1",
    "a,",
    "",
    "query",
    "idle",
    "test",
    "and",
    "<x>",
    "数",
    "a;b",
    "dGVzdA==",
]
FLAGS = [
    "active-only",
    "idle",
    "in-transaction",
    "private",
    "text",
    "activ-only",
    "--idle",
    "Active",
    "idel",
    "orders",
    '"idle"',
    "in_transaction",
]
SEPARATORS = [
    " ",
    ",",
    ", ",
    " ,",
    " , ",
    ";",
    "; ",
    "&",
    " & ",
    "&&",
    "|",
    " | ",
    " and ",
    ", and ",
    " AND ",
    " or ",
    " not ",
    "，",
    "、",
    "；",
    "\n",
    ",\n",
    ",,",
    ", ,",
    "",
    "-",
    "/",
    "+",
    ".",
    ":",
    "=",
]

keyed = st.tuples(st.sampled_from(KEYS), st.sampled_from(SIGNS), st.sampled_from(VALUES)).map("".join)
condition = keyed | st.sampled_from(FLAGS)


@st.composite
def left_out(draw: st.DrawFn) -> tuple[str, str]:
    """Give conditions as somebody types them, and the same text without one of them and a separator beside it."""
    conditions = draw(st.lists(condition, min_size=2, max_size=4))
    separators = draw(st.lists(st.sampled_from(SEPARATORS), min_size=3, max_size=3))
    gone = draw(st.integers(0, len(conditions) - 1))
    beside = draw(st.sampled_from([max(0, gone - 1), min(gone, len(conditions) - 2)]))

    def joined(parts: list[str], between: list[str]) -> str:
        return parts[0] + "".join(sign + part for sign, part in zip(between, parts[1:], strict=False))

    rest = [one for number, one in enumerate(conditions) if number != gone]
    between = [one for number, one in enumerate(separators) if number != beside]
    return joined(conditions, separators), joined(rest, between)


def listed(text: str) -> str | None:
    """Return the echo of a list; None where it is an error."""
    try:
        return describe(parse(normalize(text)).query)
    except InputError:
        return None


def closed(text: str) -> KillArguments | None:
    """Return all that a close would go by; None where it is an error."""
    try:
        return kill_arguments.parse(normalize(text))
    except InputError:
        return None


@given(left_out())
def test_whatever_condition_is_left_out_of_a_list_its_echo_changes_or_it_was_an_error(texts: tuple[str, str]) -> None:
    whole, less = map(listed, texts)
    assert whole is None or less is None or whole != less


@given(left_out(), st.sampled_from(["where ", "where\n", "1234 ", "1234,", "1234, ", "1234,1235;"]))
def test_whatever_condition_is_left_out_of_a_close_it_is_another_or_it_was_an_error(
    texts: tuple[str, str], first: str
) -> None:
    whole, less = (closed(first + text) for text in texts)
    assert whole is None or less is None or whole != less


@given(left_out())
def test_what_a_close_takes_a_list_takes_alike_and_without_a_note(texts: tuple[str, str]) -> None:
    arguments = closed(f"where {texts[0]}")
    if arguments is None or arguments.where is None or arguments.reason:
        return
    typed = texts[0].replace("query", "").replace("session", "")
    if typed == texts[0]:
        parsed = parse(normalize(typed))
        assert (parsed.query, parsed.notes) == (arguments.where, ())


# --- And nothing that was meant as a condition is one more value of another.

WELL = [
    "user=app,report",
    "tenant != shop",
    'sql="a, b=c",d',
    "host=10.0.3.7:51234,fe80::1",
    "db==orders",
    "time>10 m",
    "time<2h",
    "status=sleep,active",
    "command!=Sleep,Execute",
    "server=hosta:2881",
    "idle",
    "in-transaction",
]
PLAIN = [" ", "\n", ";", " ; "]
DOUBTFUL = [",", ", ", " ,", ",\n", "，", "、", "&", " & ", "&&", " and ", ", and ", " AND "]
well = st.lists(st.sampled_from(WELL), min_size=2, max_size=5, unique=True)


def one_by_one(conditions: list[str]) -> SessionFilter:
    """Read each condition for itself and put them together."""
    filters = [parse(one).query.filter for one in conditions]
    flags = frozenset().union(*(one.flags for one in filters))
    return SessionFilter(tuple(condition for one in filters for condition in one.conditions), flags)


def woven(conditions: list[str], separators: list[str]) -> str:
    return conditions[0] + "".join(sign + one for sign, one in zip(separators, conditions[1:], strict=False))


@given(well, st.lists(st.sampled_from(PLAIN + DOUBTFUL), min_size=4, max_size=4))
def test_in_a_list_conditions_hold_together_whatever_stands_between_them(
    conditions: list[str], separators: list[str]
) -> None:
    assert parse(normalize(woven(conditions, separators))).query.filter == one_by_one(conditions)


@given(well, st.lists(st.sampled_from(PLAIN), min_size=4, max_size=4), st.sampled_from(DOUBTFUL), st.integers(0, 3))
def test_a_close_takes_them_only_where_nothing_doubtful_stands_between_them(
    conditions: list[str], separators: list[str], doubtful: str, place: int
) -> None:
    arguments = kill_arguments.parse(normalize(f"where {woven(conditions, separators)}"))
    assert arguments.where is not None
    assert arguments.where.filter == one_by_one(conditions)
    separators[place % (len(conditions) - 1)] = doubtful
    assert closed(f"where {woven(conditions, separators)}") is None


tricky = st.sampled_from(
    [
        *FLAGS,
        *VALUES,
        "activ-only",
        "where",
        "query",
        "sessions",
        "and",
        "||",
        "user=x",
        "user:x",
        "tenat:x",
        "a=",
        "hostb:2881",
        "、",
        "a≥b",
        "&idle",
        "x&idle",
        "active",
        "time>5m",
    ]
)


@given(st.lists(tricky.filter(str.strip), min_size=1, max_size=4), st.sampled_from(["user", "sql", "server", "any"]))
def test_the_echo_of_any_values_is_read_back_the_same_by_lists_and_closes(values: list[str], key: str) -> None:
    typed = f"{key}=" + ",".join('"' + value.replace('"', '""') + '"' for value in values)
    query = parse(typed).query
    assert query.filter.conditions[0].values == tuple(values)
    echo = describe(query)
    assert parse(echo).query == query
    assert parse(echo).notes == ()
    assert kill_arguments.parse(f"where {echo}").where == SessionQuery(filter=query.filter)
