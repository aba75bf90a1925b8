"""Configurations that are wrong: what is wrong with each, and how what is said of it begins and what it advises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SECRET = "Geheim77"  # stands wherever somebody may have put a secret
SOURCE = '[data_sources.prod]\nhost = "127.0.0.1"\nport = 1\nuser = "session_bot@sys"\n'
RULE = '[[access]]\nwho = ["U01ALICE"]\nmay = ["view", "close"]\n'
GOOD = SOURCE + RULE
NEITHER = {"SLACK_APP_TOKEN": ""}
SIGNED = {"SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": "8f742231b10e8888abcd99yyyzzz85a5"}
FILE = "session-bot.toml"
STORE_FORM = "It is mysql+pymysql:// and then USER:PASSWORD@HOST:PORT/DATABASE"


@dataclass(frozen=True)
class Wrong:
    """One mistake: ``what`` in words, the one problem that is told, by its beginning, and a part with the way out.

    ``file`` of None is none; ``secrets`` are files of the secrets directory, None for one that is a directory.
    ``@`` at the beginning of ``begins`` stands for that directory. ``tried``: whether the data source is tried.
    """

    what: str
    begins: str
    way: str
    file: str | bytes | None = GOOD
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes | None] | None = None
    tried: bool = False


def _of_source(what: str, line: str, key: str, way: str, *, instead: str = "") -> Wrong:
    source = SOURCE.replace(instead, line) if instead else f"{SOURCE}{line}\n"
    return Wrong(what, f"{FILE}: data_sources.prod.{key}: ", way, source + RULE)


def _of_rule(what: str, rule: str, key: str, way: str, *, tried: bool = True) -> Wrong:
    return Wrong(what, f"{FILE}: access.0{key}: ", way, f"{SOURCE}[[access]]\n{rule}\n", tried=tried)


def _of_section(what: str, section: str, key: str, way: str) -> Wrong:
    return Wrong(what, f"{FILE}: {key}: ", way, GOOD + section, tried=True)


def _no_toml(what: str, text: str, way: str) -> Wrong:
    return Wrong(what, f"{FILE}: is no valid TOML", way, text)


def _of_env(what: str, name: str, value: str, way: str, *, tried: bool = True) -> Wrong:
    return Wrong(what, f"{name}: ", way, env={name: value}, tried=tried)


def _of_slack(what: str, name: str, value: str, way: str, env: Mapping[str, str] | None = None) -> Wrong:
    return Wrong(what, f"{name}: ", way, env={**(env or {}), name: value}, tried=True)


def _of_secret(what: str, name: str, content: bytes | None, way: str, *, tried: bool = False) -> Wrong:
    return Wrong(what, f"@{name}: ", way, secrets={name: content}, tried=tried)


FILES = [
    Wrong("no file, and none is named", "SESSION_BOT_CONFIG: is not set, and there is no ", "set it to the path", None),
    Wrong(
        "SESSION_BOT_CONFIG names no file",
        "SESSION_BOT_CONFIG: there is no file elsewhere.toml",
        "set it to the path",
        env={"SESSION_BOT_CONFIG": "elsewhere.toml"},
    ),
    Wrong(
        "SESSION_BOT_CONFIG names a directory",
        "/: is a directory",
        "set SESSION_BOT_CONFIG to the path of the file",
        env={"SESSION_BOT_CONFIG": "/"},
    ),
    Wrong(
        "SESSION_BOT_CONFIG goes through a file",
        "session-bot.toml/x.toml: is below something that is no directory",
        "set SESSION_BOT_CONFIG to the path of the file",
        env={"SESSION_BOT_CONFIG": "session-bot.toml/x.toml"},
    ),
    Wrong(
        "SESSION_BOT_CONFIG is misspelt",
        "SESSION_BOT_CONFG: there is no such setting",
        "did you mean SESSION_BOT_CONFIG?",
        env={"SESSION_BOT_CONFG": "/etc/x.toml"},
    ),
    Wrong("the file is in UTF-16", f"{FILE}: is no text in UTF-8", "save it as UTF-8", GOOD.encode("utf-16")),
    Wrong("the file is in Latin-1", f"{FILE}: is no text in UTF-8", "save it as UTF-8", b"# caf\xe9\n" + GOOD.encode()),
    _no_toml("a quote is missing", f'[data_sources.prod]\npassword = "{SECRET}\n', "a quote is missing"),
    _no_toml("a text without quotes", f"[data_sources.prod]\nhost = {SECRET}\n", "a text needs quotes"),
    _no_toml("a colon for =", f"[data_sources.prod]\npassword: {SECRET}\n", "a line is KEY = VALUE"),
    _no_toml("a section twice", SOURCE + SOURCE, "for the second time"),
    _no_toml("a key twice", f'{SOURCE}user = "{SECRET}"\n', "for the second time"),
    _no_toml("a Windows path in double quotes", f'{SOURCE}tls_ca = "C:\\ca\\{SECRET}"\n', "take single quotes"),
    _no_toml(
        "a bracket is missing", f'{SOURCE}[[access]]\nwho = ["U1"\nmay = ["view"]\n', "a closing bracket is missing"
    ),
    _no_toml("two values", f'{SOURCE}password = "a" "{SECRET}"\n', "behind = stands more than one value"),
    _no_toml("a YAML file", "data_sources:\n  prod:\n    host: x\n", "a line is KEY = VALUE"),
    _no_toml("numbers of thousands of digits", f"x = {'7' * 5000}\n", "a number is too long"),
]

KEYS = [
    Wrong(
        "an unknown key at the top", f"{FILE}: colour: ", "there is default_source", f'colour = "r"\n{GOOD}', tried=True
    ),
    Wrong(
        "data_source for data_sources",
        f"{FILE}: data_source: there is no such setting",
        "did you mean data_sources?",
        GOOD.replace("data_sources", "data_source"),
    ),
    _of_source("a misspelt password", f'pasword = "{SECRET}"', "pasword", "did you mean password?"),
    _of_source("host misspelt: not told as missing as well", "hots", "hots", "did you mean host?", instead="host"),
    _of_source("a key with a dash", 'show-sql = "full"', "show-sql", "did you mean show_sql?"),
    _of_source("a key of the top in a section", 'default_source = "prod"', "default_source", "the top of the file"),
    _of_source("a key of another section", 'keep = "90d"', "keep", "keep belongs to [store]"),
    _of_source("no host", "", "host", "is missing; it must be a text in quotes", instead='host = "127.0.0.1"\n'),
    _of_source("no user", "", "user", "is missing; it must be a text", instead='user = "session_bot@sys"\n'),
    _of_source("a port that is none", "port = 70000", "port", "a whole number from 1 to 65535", instead="port = 1"),
    _of_source("a port that is no number", f'port = "{SECRET}"', "port", "from 1 to 65535", instead="port = 1"),
    _of_source(
        "a port in the host",
        f'host = "db:{SECRET}"',
        "host",
        "port, user and password have keys",
        instead='host = "127.0.0.1"',
    ),
    _of_source(
        "a URL as host",
        f'host = "mysql://u:{SECRET}@h"',
        "host",
        "have keys of their own",
        instead='host = "127.0.0.1"',
    ),
    _of_source(
        "a kind that is none, and no port",
        'kind = "oracle"',
        "kind",
        '"auto", "oceanbase", "seekdb" or "mysql"',
        instead="port = 1",
    ),
    _of_source("a password that is a number", "password = 7791467914", "password", "a text in quotes"),
    _of_source("a user that is empty", 'user = ""', "user", "not empty", instead='user = "session_bot@sys"'),
    _of_source("tenants that are no list", 'tenants = "shop"', "tenants", 'such as ["NAME"]'),
    _of_source("tenants that are none", "tenants = []", "tenants", "at least one text"),
    _of_source("an approval that is none", 'approval = "two"', "approval", '"requester" or "second-person"'),
    _of_source(
        "a tenant's approval that is none", 'tenant_approval = {shop = "x"}', "tenant_approval.shop", "second-person"
    ),
    _of_source(
        "tenant_approval that is no section",
        'tenant_approval = "x"',
        "tenant_approval",
        "[data_sources.prod.tenant_approval]",
    ),
    _of_source("show_sql that is none", 'show_sql = "all"', "show_sql", '"digest" or "full"'),
    _of_source("read_only that is neither", 'read_only = "perhaps"', "read_only", "true or false"),
    _of_source("a budget beyond its bounds", "budget = 0", "budget", "a whole number from 1 to 10000"),
    _of_source("a duration in words", 'budget_window = "an hour"', "budget_window", "for example 90s or 2m"),
    _of_source(
        "a duration that is too long", 'break_glass_after = "2h"', "break_glass_after", "a duration from 1s to 1h"
    ),
    _of_source("a network that is none", 'protected_sources = ["web1"]', "protected_sources.0", "10.0.0.0/24"),
    _of_source("tls that is no mode", 'tls = "yes"', "tls", '"off", "preferred", "required" or "verified"'),
    _of_source("tls_ca that nothing looks at", f'tls_ca = "{SECRET}"', "tls_ca", 'tls = "verified"'),
    _of_source("tls_ca that is not there", f'tls = "verified"\ntls_ca = "{SECRET}"', "tls_ca", "a certificate in PEM"),
    Wrong(
        "a second person where nobody approves",
        f"{FILE}: data_sources.prod.approval: ",
        'add one with may = ["approve"]',
        f'{SOURCE}approval = "second-person"\n{RULE}',
        tried=True,
    ),
    Wrong(
        "a name with capitals", f"{FILE}: data_sources.Prod: ", "each of a-z", GOOD.replace("prod", "Prod"), tried=True
    ),
    Wrong(
        "[[data_sources]]", f"{FILE}: data_sources: ", "[data_sources.NAME]", f'[[data_sources]]\nhost = "h"\n{RULE}'
    ),
    Wrong(
        "keys right below [data_sources]",
        f"{FILE}: data_sources.host: ",
        "host belongs below a line [data_sources.NAME]",
        f'[data_sources]\nhost = "h"\n{RULE}',
    ),
    Wrong("no data source", f"{FILE}: data_sources: ", "add a [data_sources.NAME] section", RULE),
    Wrong("no access rule", f"{FILE}: access: ", "add an [[access]] section", SOURCE, tried=True),
    Wrong(
        "[access] in one bracket",
        f"{FILE}: access: ",
        "[[access]] in two brackets",
        f'{SOURCE}[access]\nwho = ["U1"]\n',
        tried=True,
    ),
    _of_rule("a name for an id", 'who = ["alice"]\nmay = ["view"]', ".who.0", "looks like U0123456789"),
    _of_rule("who that is no list", 'who = "U01ALICE"\nmay = ["view"]', ".who", 'such as ["U0123456789"]'),
    _of_rule("nobody", 'who = []\nmay = ["view"]', ".who", "at least one text"),
    _of_rule("a right that is none", 'who = ["*"]\nmay = ["kill"]', ".may.0", '"view", "close" or "approve"'),
    _of_rule("a rule without rights", 'who = ["*"]', ".may", "is missing; it must be a list"),
    _of_rule(
        "a rule for an unknown data source",
        'who = ["*"]\nmay = ["view"]\ndata_sources = ["x"]',
        ".data_sources: x",
        "there is prod",
    ),
    _of_rule(
        "a channel by its name",
        'who = ["*"]\nmay = ["view"]\nchannels = ["#ops"]',
        ".channels.0",
        "looks like C0123456789",
    ),
    Wrong(
        "default_source that is none",
        f"{FILE}: default_source: ",
        "there is prod",
        f'default_source = "x"\n{GOOD}',
        tried=True,
    ),
    _of_section(
        "a channel's unknown data source",
        '[channels.C01INC]\ndata_source = "x"\n',
        "channels.C01INC.data_source",
        "there is prod",
    ),
    _of_section(
        "a channel that is no section",
        '[channels]\nC01INC = "shop"\n',
        "channels.C01INC",
        "a section, [channels.C01INC]",
    ),
    _of_section(
        "a duration that is too short", '[closing]\nconfirm_within = "1s"\n', "closing.confirm_within", "from 5s to 1h"
    ),
    _of_section(
        "a read that may take longer than triage waits",
        '[triage]\ntimeout = "15s"\n',
        "triage.timeout",
        "from 1s to 10s",
    ),
    _of_section(
        "require_reason that is neither", '[closing]\nrequire_reason = "x"\n', "closing.require_reason", "true or false"
    ),
    Wrong(
        "closing that is no section", f"{FILE}: closing: ", "a section, [closing]", f"closing = 5\n{GOOD}", tried=True
    ),
    _of_section("audit_log without a whole path", '[store]\naudit_log = "a.log"\n', "store.audit_log", "a whole path"),
    _of_section("keep that is too short", '[store]\nkeep = "1h"\n', "store.keep", "a duration of at least 1d"),
    _of_section("a misspelt key of the store", '[store]\nuri = "x"\n', "store.uri", "did you mean url?"),
]

STORES = [
    _of_section(f"the store's URL {what}", f"[store]\nurl = {url}\n", "store.url", way)
    for what, url, way in (
        ("is of another driver", f'"mysql://u:{SECRET}@h/db"', STORE_FORM),
        ("is PostgreSQL's", f'"postgresql://u:{SECRET}@h/db"', STORE_FORM),
        ("has an @ in its password", f'"mysql+pymysql://u:p@{SECRET}@h/db"', "written as %40"),
        ("has no host", f'"mysql+pymysql://u:{SECRET}"', STORE_FORM),
        ("has a port that is none", f'"mysql+pymysql://u:{SECRET}@h:x/db"', STORE_FORM),
        ("has no database", f'"mysql+pymysql://u:{SECRET}@h"', STORE_FORM),
        ("has an option of the driver's", f'"mysql+pymysql://u:{SECRET}@h/db?ssl_ca=x"', "tls and tls_ca are settings"),
        ("is a path", f'"/var/lib/{SECRET}.db"', "or sqlite:/// and then a file"),
        ("is a number", "5", "a text in quotes"),
    )
]

VARIABLES = [
    _of_env("one underscore", "SESSION_BOT_STORE__URL", f"sqlite:///{SECRET}", "did you mean SESSION_BOT__STORE__URL?"),
    _of_env("one underscore throughout", "SESSION_BOT_STORE_URL", SECRET, "did you mean SESSION_BOT__STORE__URL?"),
    _of_env("three underscores", "SESSION_BOT___STORE__URL", SECRET, "did you mean SESSION_BOT__STORE__URL?"),
    _of_env("no underscore within the name", "SESSIONBOT__STORE__URL", SECRET, "did you mean SESSION_BOT__STORE__URL?"),
    _of_env(
        "one underscore before a password",
        "SESSION_BOT_DATA_SOURCES_PROD_PASSWORD",
        SECRET,
        "did you mean SESSION_BOT__DATA_SOURCES__PROD__PASSWORD?",
        tried=False,
    ),
    _of_env(
        "a misspelt section",
        "SESSION_BOT__DATA_SOURCE__PROD__PASSWORD",
        SECRET,
        "did you mean SESSION_BOT__DATA_SOURCES__PROD__PASSWORD?",
        tried=False,
    ),
    _of_env(
        "a misspelt data source",
        "SESSION_BOT__DATA_SOURCES__PRDO__PASSWORD",
        SECRET,
        "there is no data source prdo; did you mean SESSION_BOT__DATA_SOURCES__PROD__PASSWORD?",
        tried=False,
    ),
    _of_env("a misspelt key", "SESSION_BOT__STORE__URI", SECRET, "did you mean SESSION_BOT__STORE__URL?"),
    _of_env(
        "a key that is none", "SESSION_BOT__COLOUR", "red", "SESSION_BOT__SECTION__KEY, such as SESSION_BOT__STORE"
    ),
    _of_env("a rule by its number", "SESSION_BOT__ACCESS__0__WHO", '["*"]', "did you mean SESSION_BOT__ACCESS?"),
    _of_env("a key below a value", "SESSION_BOT__STORE__URL__X", SECRET, "did you mean SESSION_BOT__STORE__URL?"),
    _of_env(
        "rules that are no JSON",
        "SESSION_BOT__ACCESS",
        f'[{{"who": ["{SECRET}"',
        'such as [{"who": ["U0123456789"], "may": ["view"]}] is',
    ),
    _of_env(
        "a list that is no JSON", "SESSION_BOT__DATA_SOURCES__PROD__TENANTS", "a,b", 'such as ["NAME"]', tried=False
    ),
    _of_env("a port that is none", "SESSION_BOT__DATA_SOURCES__PROD__PORT", SECRET, "from 1 to 65535", tried=False),
    _of_env("a duration that is none", "SESSION_BOT__CLOSING__CONFIRM_WITHIN", SECRET, "for example 90s or 2m"),
    _of_env("a store's URL that is none", "SESSION_BOT__STORE__URL", f"mysql://u:{SECRET}@h/d", STORE_FORM),
    _of_env("neither true nor false", "SESSION_BOT__CLOSING__REQUIRE_REASON", SECRET, "true or false"),
    Wrong(
        "a rule in JSON that is wrong",
        "SESSION_BOT__ACCESS: 0.may.0: ",
        '"view", "close" or "approve"',
        env={"SESSION_BOT__ACCESS": '[{"who": ["*"], "may": ["kill"]}]'},
        tried=True,
    ),
    Wrong(
        "a password of a data source that is nowhere",
        "SESSION_BOT__DATA_SOURCES__CRM__PASSWORD: there is no data source crm",
        "set SESSION_BOT__DATA_SOURCES__CRM__HOST and SESSION_BOT__DATA_SOURCES__CRM__USER",
        env={"SESSION_BOT__DATA_SOURCES__CRM__PASSWORD": SECRET},
        tried=True,
    ),
    _of_env("a proxy that is none", "HTTPS_PROXY", f"http://u:{SECRET}", "such as http://USER:PASSWORD@HOST:PORT"),
]

SECRETS = [
    Wrong(
        "SESSION_BOT_SECRETS names no directory",
        "SESSION_BOT_SECRETS: there is no directory nowhere",
        "set it to the one that has a file for each secret",
        env={"SESSION_BOT_SECRETS": "nowhere"},
    ),
    Wrong(
        "SESSION_BOT_SECRETS names a file",
        f"SESSION_BOT_SECRETS: there is no directory {FILE}",
        "set it to the one that has a file for each secret",
        env={"SESSION_BOT_SECRETS": FILE},
    ),
    _of_secret("a password that is no text", "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD", b"\xff\xfe", "as plain text"),
    _of_secret(
        "a password that is a directory", "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD", None, "in a file of that name"
    ),
    _of_secret("a store's URL that is no text", "SESSION_BOT__STORE__URL", b"\x80abc", "as plain text", tried=True),
    _of_secret(
        "a secret that is a whole disk", "SESSION_BOT__STORE__URL", b"x" * (1 << 20) + b"y", "as plain text", tried=True
    ),
    _of_secret(
        "a misspelt secret", "SESSION_BOT__DATA_SOURCES__PROD__PASSWD", SECRET.encode(), "PROD__PASSWORD?", tried=False
    ),
    _of_secret(
        "a secret with an ending",
        "SESSION_BOT__STORE__URL.txt",
        SECRET.encode(),
        "SESSION_BOT__STORE__URL?",
        tried=True,
    ),
    _of_secret(
        "a configuration among the secrets",
        "SESSION_BOT_CONFIG",
        b"x",
        "it is read from the environment alone",
        tried=False,
    ),
    _of_secret("a store's URL that is none", "SESSION_BOT__STORE__URL", f"u:{SECRET}".encode(), STORE_FORM, tried=True),
    Wrong(
        "a bot token that is no text",
        "@SLACK_BOT_TOKEN: is no text in UTF-8",
        "as plain text",
        env={"SLACK_BOT_TOKEN": ""},
        secrets={"SLACK_BOT_TOKEN": b"\xff\xfe"},
        tried=True,
    ),
    Wrong(
        "a bot token of another kind in a file",
        "@SLACK_BOT_TOKEN: it holds a user token (xoxp-)",
        "set it to the app's Bot User OAuth Token",
        env={"SLACK_BOT_TOKEN": ""},
        secrets={"SLACK_BOT_TOKEN": f"xoxp-{SECRET}".encode()},
        tried=True,
    ),
    Wrong(
        "a bot token in a file with an ending",
        "SLACK_BOT_TOKEN: set it to ",
        "secrets/SLACK_BOT_TOKEN.txt is set, which nothing reads",
        env={"SLACK_BOT_TOKEN": ""},
        secrets={"SLACK_BOT_TOKEN.txt": f"xoxb-{SECRET}".encode()},
        tried=True,
    ),
]

BOT, APP, SIGNING = "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"
SLACK = [
    _of_slack("no bot token", BOT, "", "set it to the app's Bot User OAuth Token"),
    _of_slack("the app's token for the bot's", BOT, f"xapp-{SECRET}", "it holds an app-level token (xapp-); set it to"),
    _of_slack("a user's token for the bot's", BOT, f"xoxp-{SECRET}", "it holds a user token (xoxp-); set it to"),
    _of_slack("a token that expires", BOT, f"xoxe.xoxb-{SECRET}", "which the bot cannot renew; set it to"),
    _of_slack("quotes around the token", BOT, f'"xoxb-{SECRET}"', "there are quotes or blanks around it"),
    _of_slack("the end of a line after the token", BOT, f"xoxb-{SECRET}\n", "there are quotes or blanks around it"),
    _of_slack("a token that is cut", BOT, "xoxb-", "it is not whole"),
    _of_slack("no token at all", BOT, SECRET, "which starts with xoxb-"),
    _of_slack(
        "the bot's token for the app's", APP, f"xoxb-{SECRET}", "it holds a bot token (xoxb-); set it to an app-"
    ),
    _of_slack("the bot's token for the signing secret", SIGNING, f"xoxb-{SECRET}", "the app's Signing Secret", NEITHER),
    _of_slack("a signing secret that is too short", SIGNING, "short", "from its Basic Information", NEITHER),
    Wrong("neither mode", f"{APP}: set it for Socket Mode", "or set SLACK_SIGNING_SECRET", env=NEITHER, tried=True),
    Wrong(
        "both modes",
        f"{SIGNING}: SLACK_APP_TOKEN is set as well",
        "leave this one out for Socket Mode",
        env={SIGNING: SIGNED[SIGNING]},
        tried=True,
    ),
    Wrong(
        "a misspelt variable of a token",
        f"{APP}: set it for Socket Mode",
        "SLACK_APPTOKEN is set, which nothing reads",
        env={APP: "", "SLACK_APPTOKEN": f"xapp-{SECRET}"},
        tried=True,
    ),
    _of_slack("an API without its path", "SLACK_API_URL", "https://slack.com", "end in /api/"),
    _of_slack("a login in the API's address", "SLACK_API_URL", f"https://u:{SECRET}@slack.com/api/", "no login"),
    _of_slack("a port that is none", "PORT", "http", "a number from 1 to 65535", SIGNED),
    _of_slack("a health port that is none", "HEALTH_PORT", "0", "a number from 1 to 65535"),
]

WRONG = [*FILES, *KEYS, *STORES, *VARIABLES, *SECRETS, *SLACK]
