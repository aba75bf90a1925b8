"""What is said of mistakes: a sentence for each, with its key, and never with what stands there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bot.access import EVERYBODY
from bot.settings.expected import Keys, expected, is_setting, keys_of
from bot.settings.secrets_folder import Secrets
from bot.settings.sections import AccessRuleSettings, Settings
from bot.settings.sources import DEFAULT_FILE, Read, dicts, is_dict
from bot.settings.unread import advice, meant_key, slack_variable
from bot.settings.values import web_address
from bot.slack.connections import PROXY_VARIABLES

_SLACK_HINTS = {
    "SLACK_BOT_TOKEN": "set it to the app's Bot User OAuth Token, which starts with xoxb- and has no blank",
    "SLACK_APP_TOKEN": "set it to an app-level token with connections:write, which starts with xapp- and has no blank",
    "SLACK_SIGNING_SECRET": "set it to the app's Signing Secret, from its Basic Information",
    "SLACK_API_URL": "it must start with http:// or https:// and end in /api/, with a host between and no login",
    "PORT": "it is the port that Slack's requests come to in HTTP mode, a number from 1 to 65535",
    "HEALTH_PORT": "it is the port of health and metrics, a number from 1 to 65535",
    "BIND_ADDRESS": "it is an address of this machine to listen on, such as 127.0.0.1 or ::1, without a port; leave it "
    "out to listen on all of them",
    "HEALTH_BIND_ADDRESS": "it is an address of this machine to listen on, such as 127.0.0.1 or ::1, without a port; "
    "leave it out for that of BIND_ADDRESS",
}
_MODE_HINTS = {
    "no_mode": "SLACK_APP_TOKEN: set it for Socket Mode, to an app-level token with connections:write, which starts "
    "with xapp-; or set SLACK_SIGNING_SECRET for HTTP mode",
    "two_modes": "{SLACK_SIGNING_SECRET}: {SLACK_APP_TOKEN} is set as well; leave this one out for Socket Mode, "
    "or that one for HTTP mode",
    "no_port_of_its_own": "HEALTH_BIND_ADDRESS: health and metrics have no port of their own; set HEALTH_PORT, in HTTP "
    "mode to another than PORT, or leave this out",
}


def of_slack(error: ValidationError, secrets: Secrets) -> list[str]:
    """Say what is wrong with what reaches Slack."""
    told = [_slack_sentence(problem, secrets) for problem in _errors(error)]
    return [sentence for sentence in told if sentence is not None]


def _slack_sentence(problem: ErrorDetails, secrets: Secrets) -> str | None:
    name = str(problem["loc"][0]).upper()
    name = name if name in _SLACK_HINTS else f"SLACK_{name}"
    if any(one.upper() == name for one in secrets.spoiled) or "*" in secrets.spoiled:
        return None  # told with the file
    names = [*secrets.values, *secrets.spoiled, *os.environ]
    if problem["type"] in ("missing", "no_mode"):
        wanted = (name,) if problem["type"] == "missing" else ("SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET")
        if any(one.upper() in wanted for one in secrets.spoiled):
            return None
        meant = next((one for one in (slack_variable(one, names) for one in wanted) if one is not None), None)
        meant = secrets.path(meant) if meant in (*secrets.values, *secrets.spoiled) else meant
        instead = f"; {meant} is set, which nothing reads" if meant is not None else ""
        return f"{_MODE_HINTS.get(problem['type']) or f'{name}: {_SLACK_HINTS[name]}'}{instead}"
    if problem["type"] in _MODE_HINTS:
        places = {one: _given(one, secrets)[0] for one in _SLACK_HINTS}
        return _MODE_HINTS[problem["type"]].format(**places)
    place, value = _given(name, secrets)
    return f"{place}: {_kind_of_token(name, value)}{_SLACK_HINTS[name]}"


def _given(name: str, secrets: Secrets) -> tuple[str, str]:
    """Return where a variable of Slack's was read, and what stands there."""
    for one, value in os.environ.items():
        if one.upper() == name and value:
            return one, value
    return next(
        ((secrets.path(one), value) for one, value in secrets.values.items() if one.upper() == name), (name, "")
    )


def _kind_of_token(name: str, value: str) -> str:
    """Say which of Slack's secrets stands where another is wanted, without any of it; '' where that cannot be told."""
    bare = value.strip("\"' \t\r\n")
    start = next((start for start in _KINDS if bare.startswith(start)), None)
    if start is None:
        return ""
    if start not in _SLACK_HINTS[name]:
        return f"it holds {_KINDS[start]}; "
    return "there are quotes or blanks around it; " if bare != value else "it is not whole, or has a blank in it; "


_KINDS = {  # docs/slack.md 4.6
    "xoxb-": "a bot token (xoxb-)",
    "xapp-": "an app-level token (xapp-)",
    "xoxp-": "a user token (xoxp-)",
    "xoxe.": "a token that expires (xoxe.), which the bot cannot renew",
    "xoxe-": "a token that renews others (xoxe-)",
    "https://hooks.slack.com/": "an incoming webhook's address",
}


_NO_RULE = "there is no access rule, so nobody could use the bot; add an [[access]] section with who and may"
_NO_SOURCE = "there is no data source; add a [data_sources.NAME] section with host, port, user and password"
_WORDS = {
    ("access", "missing"): _NO_RULE,
    ("access", "too_short"): _NO_RULE,
    ("data_sources", "missing"): _NO_SOURCE,
    ("data_sources", "too_short"): _NO_SOURCE,
}
_NAME = (
    "a data source's name has at most 40 characters, each of a-z, 0-9, _ . and -, and begins with a letter or a digit"
)


def of_settings(error: ValidationError, read: Read) -> list[str]:
    """Say what is wrong with the settings, each by its place and key; what only follows from another is left out."""
    errors = [(_keys(problem), problem) for problem in _errors(error)]
    unknown = [keys for keys, problem in errors if problem["type"] == "extra_forbidden"]
    meant = {(*keys[:-1], meant_key(keys[:-1], str(keys[-1]))) for keys in unknown}
    told = (
        f"{read.place_of(keys)}: {_settings_sentence(keys, problem)}"
        for keys, problem in errors
        if problem["type"] != "default_factory_not_called"  # its own key is fine: another is wrong that it goes by
        and not read.is_spoiled(keys)
        and not (problem["type"] == "missing" and keys in meant)
    )
    return list(dict.fromkeys(told))  # what may be one of two kinds is refused twice


def _keys(problem: ErrorDetails) -> Keys:
    """Return the keys that a problem is about, without the library's own marks."""
    keys = tuple(part for part in problem["loc"] if part != "[key]")
    while len(keys) > 1 and not is_setting(keys) and problem["type"] != "extra_forbidden":
        keys = keys[:-1]
    return keys


def _settings_sentence(keys: Keys, problem: ErrorDetails) -> str:
    kind = problem["type"]
    if (said := _WORDS.get((".".join(map(str, keys)), kind))) is not None:
        return said
    if kind == "string_pattern_mismatch":
        return _NAME
    if kind == "value_error":  # one of our own
        return problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"there is no such setting; {advice(keys[:-1], str(keys[-1]))}"
    if keys[:1] == ("data_sources",) and len(keys) == 2 and keys[1] in keys_of(("data_sources", "NAME")):
        return f"{keys[1]} belongs below a line [data_sources.NAME], with the name of the data source"
    return f"{'is missing; it must be' if kind == 'missing' else 'must be'} {expected(keys)}"


def _errors(error: ValidationError) -> list[ErrorDetails]:
    """Return what is wrong, and nothing of what was given: a password may stand there."""
    return error.errors(include_url=False, include_input=False, include_context=False)


def no_file(read: Read) -> list[str]:
    """Say that no file was read, where something is missing that would stand in one."""
    if read.file is not None or read.is_spoiled(()) or {"data_sources", "access"} <= read.raw.keys():
        return []
    return [
        f"SESSION_BOT_CONFIG: is not set, and there is no {DEFAULT_FILE} in {Path.cwd()}, so no file was read; set it "
        "to the path of the configuration, which has a [data_sources.NAME] and an [[access]] section"
    ]


def unusable_proxy() -> list[str]:
    """Find out whether Slack's client can make out the proxy, in whose URL a password may stand."""
    name = next((one for one in PROXY_VARIABLES if os.environ.get(one)), None)
    if name is None or not os.environ[name].strip():
        return []
    try:
        web_address(os.environ[name] if "://" in os.environ[name] else f"http://{os.environ[name]}")
    except ValueError:
        return [f"{name}: it is no address of a proxy, such as http://USER:PASSWORD@HOST:PORT"]
    return []


def contradictions(read: Read) -> list[str]:
    """Find names that stand for nothing, in whatever part of the configuration is readable."""
    raw = read.raw
    known = raw.get("data_sources")
    if not is_dict(known) or not known:
        return []  # that there is none is told already
    there = f"there is no such data source; there is {', '.join(sorted(map(str, known)))}"
    named: list[tuple[Keys, object, str]] = [(("default_source",), raw.get("default_source"), "")]
    for number, rule in dicts(raw.get("access")):
        names = rule.get("data_sources")
        names = names if isinstance(names, list) else ()
        named += [(("access", number, "data_sources"), name, f": {name}") for name in names]
    channels = raw.get("channels")
    for channel, meant in channels.items() if is_dict(channels) else ():
        if is_dict(meant):
            named.append((("channels", channel, "data_source"), meant.get("data_source"), ""))
    # What is no name at all has been told as such.
    return [
        f"{read.place_of(keys)}{which}: {there}"
        for keys, name, which in named
        if isinstance(name, str)
        and name not in known
        and not read.is_spoiled(keys)
        and not read.is_spoiled(("data_sources", name))
    ]


Finding = tuple[Keys, str]  # a key, and what is said of it


def of_findings(findings: Sequence[Finding], read: Read) -> list[str]:
    """Say each with the place of its key, but for what is not known whole."""
    return [f"{read.place_of(keys)}: {said}" for keys, said in findings if not read.is_spoiled(keys)]


_NOT_KNOWN: Mapping[str, frozenset[str]] = {}


def without_approvers(settings: Settings) -> list[Finding]:
    """Find data sources where a second person is wanted and no rule makes anybody one."""
    return [
        (keys, 'second-person, yet no access rule lets anybody approve there; add one with may = ["approve"]')
        for keys, asking, approving in _second_persons(settings)
        if not approving and (asking or "tenant_approval" not in keys)
    ]


def without_second_persons(settings: Settings, members: Mapping[str, frozenset[str]] = _NOT_KNOWN) -> list[str]:
    """Find data sources where whoever may approve could never confirm what another asked for.

    ``members`` are those of user groups, as far as they are known. Nothing is closed there then, so that it keeps no
    bot from starting: rights may have been taken from somebody.
    """
    problems = []
    for keys, asking, approving in _second_persons(settings):
        key = ".".join(map(str, keys))
        pairs = [one.who | other.who for one in asking for other in approving if _meet(one, other)]
        met = [frozenset(person for one in who for person in members.get(one) or (one,)) for who in pairs]
        if asking and approving and not met:
            problems.append(
                f"{key}: second-person, yet whoever may close there and whoever may approve have no tenant or no "
                'channel in common; let a rule with may = ["approve"] cover what is closed'
            )
        elif met and all(map(_is_one_person, met)):
            problems.append(
                f"{key}: second-person, yet {' and '.join(sorted(frozenset().union(*met)))} alone may both close and "
                "approve there, and nobody confirms a close of their own; name somebody else in a rule with may = "
                '["approve"]'
            )
    return problems


def _second_persons(
    settings: Settings,
) -> Iterator[tuple[Keys, list[AccessRuleSettings], list[AccessRuleSettings]]]:
    """Yield each key that wants a second person, with the rules that let somebody close, and approve, there."""
    for name, source in settings.data_sources.items():
        usual: tuple[Keys, str | None, str] = (("approval",), None, source.approval)
        wanted = ((("tenant_approval", tenant), tenant, one) for tenant, one in source.tenant_approval.items())
        for keys, tenant, approval in (usual, *wanted):
            if approval == "second-person" and not source.read_only:
                there = [
                    rule
                    for rule in settings.access
                    if (rule.data_sources is None or name in rule.data_sources)
                    and (tenant is None or rule.tenants is None or tenant in rule.tenants)
                ]
                asking, approving = ([rule for rule in there if right in rule.may] for right in ("close", "approve"))
                yield ("data_sources", name, *keys), asking, approving


def _meet(one: AccessRuleSettings, other: AccessRuleSettings) -> bool:
    """Whether two rules are about the same session in the same channel, for some session and channel."""
    return all(
        mine is None or theirs is None or mine & theirs
        for mine, theirs in ((one.tenants, other.tenants), (one.channels, other.channels))
    )


def _is_one_person(who: frozenset[str]) -> bool:
    """Whether these ids are of a single person: none is everybody's, or a user group's that is not known."""
    return len(who) == 1 and not any(one == EVERYBODY or one.startswith("S") for one in who)


def tenants_without(settings: Settings) -> list[Finding]:
    """Find tenants that are named of data sources of a kind that has none: nothing would ever match them."""
    without = {name for name, source in settings.data_sources.items() if source.kind == "mysql"}
    named: list[tuple[Keys, tuple[str, ...]]] = [
        (("data_sources", name, key), (name,))
        for name in sorted(without)
        for key in ("tenants", "tenant_approval")
        if getattr(settings.data_sources[name], key)
    ]
    for number, rule in enumerate(settings.access):
        if rule.tenants is not None:
            named.append((("access", number, "tenants"), tuple(rule.data_sources or settings.data_sources)))
    for channel, meant in settings.channels.items():
        source = meant.data_source or settings.default_source
        if meant.tenant is not None and source is not None:
            named.append((("channels", channel, "tenant"), (source,)))
    return [
        (
            keys,
            f"{' and '.join(sorted(sources))} {'has' if len(sources) == 1 else 'have'} no tenants, as no MySQL and "
            "no MariaDB has, so nothing would ever match; leave it out",
        )
        for keys, sources in named
        if without.issuperset(sources)
    ]
