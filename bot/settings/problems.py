"""What is said of mistakes: a sentence for each, with its key, and never with what stands there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bot.access import EVERYBODY
from bot.settings.sections import AccessRuleSettings, Settings
from bot.settings.sources import dicts, is_dict
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
    "two_modes": "SLACK_SIGNING_SECRET: SLACK_APP_TOKEN is set as well; leave this one out for Socket Mode, "
    "or that one for HTTP mode",
    "no_port_of_its_own": "HEALTH_BIND_ADDRESS: health and metrics have no port of their own; set HEALTH_PORT, in HTTP "
    "mode to another than PORT, or leave this out",
}


def of_slack(error: ValidationError) -> list[str]:
    """Say what is wrong with what reaches Slack."""
    return [_slack_sentence(problem) for problem in _errors(error)]


def _slack_sentence(problem: ErrorDetails) -> str:
    name = str(problem["loc"][0]).upper()
    name = name if name in _SLACK_HINTS else f"SLACK_{name}"
    return _MODE_HINTS.get(problem["type"]) or f"{name}: {_SLACK_HINTS[name]}"


_NO_RULE = "there is no access rule, so nobody could use the bot; add an [[access]] section with who and may"
_NO_SOURCE = "there is no data source; add a [data_sources.NAME] section with host, port, user and password"
_WORDS = {
    ("access", "missing"): _NO_RULE,
    ("access", "too_short"): _NO_RULE,
    ("data_sources", "missing"): _NO_SOURCE,
    ("data_sources", "too_short"): _NO_SOURCE,
}


def of_settings(error: ValidationError) -> list[str]:
    """Say what is wrong with the settings, each by its key."""
    return [_settings_sentence(problem) for problem in _errors(error)]


def _settings_sentence(problem: ErrorDetails) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    said = _WORDS.get((where, problem["type"])) or _PLAIN.get(problem["type"])
    return f"{where}: {said or problem['msg'].removeprefix('Value error, ')}"


_PLAIN = {
    "extra_forbidden": "there is no such setting",
    "missing": "is missing",
    "string_type": "is no text; put it in quotes",
}


def _errors(error: ValidationError) -> list[ErrorDetails]:
    """Return what is wrong, and nothing of what was given: a password may stand there."""
    return error.errors(include_url=False, include_input=False, include_context=False)


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


def contradictions(raw: Mapping[str, Any]) -> list[str]:
    """Find names that stand for nothing, in whatever part of the configuration is readable."""
    known = set(raw.get("data_sources") or ()) if is_dict(raw.get("data_sources")) else set()
    there = f"there is no such data source; there is {', '.join(sorted(map(str, known))) or 'none'}"
    named: list[tuple[str, object]] = [("default_source", raw.get("default_source"))]
    for number, rule in enumerate(dicts(raw.get("access"))):
        names = rule.get("data_sources")
        names = names if isinstance(names, list) else ()
        named += [(f"access.{number}.data_sources: {name}", name) for name in names]
    channels = raw.get("channels")
    for channel, meant in channels.items() if is_dict(channels) else ():
        if is_dict(meant):
            named.append((f"channels.{channel}.data_source", meant.get("data_source")))
    # What is no name at all has been told as such.
    return [f"{key}: {there}" for key, name in named if isinstance(name, str) and name not in known]


def without_approvers(settings: Settings) -> list[str]:
    """Find data sources where a second person is wanted and no rule makes anybody one."""
    return [
        f'{key}: second-person, yet no access rule lets anybody approve there; add one with may = ["approve"]'
        for key, asking, approving in _second_persons(settings)
        if not approving and (asking or not key.partition(".tenant_approval.")[1])
    ]


def without_second_persons(settings: Settings) -> list[str]:
    """Find data sources where whoever may approve could never confirm what another asked for.

    Nothing is closed there then, so that it keeps no bot from starting: rights may have been taken from somebody.
    """
    problems = []
    for key, asking, approving in _second_persons(settings):
        met = [one.who | other.who for one in asking for other in approving if _meet(one, other)]
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


def _second_persons(settings: Settings) -> Iterator[tuple[str, list[AccessRuleSettings], list[AccessRuleSettings]]]:
    """Yield each key that wants a second person, with the rules that let somebody close, and approve, there."""
    for name, source in settings.data_sources.items():
        wanted = [(f"tenant_approval.{tenant}", tenant, one) for tenant, one in source.tenant_approval.items()]
        for key, tenant, approval in [("approval", None, source.approval), *wanted]:
            if approval == "second-person" and not source.read_only:
                there = [
                    rule
                    for rule in settings.access
                    if (rule.data_sources is None or name in rule.data_sources)
                    and (tenant is None or rule.tenants is None or tenant in rule.tenants)
                ]
                asking, approving = ([rule for rule in there if right in rule.may] for right in ("close", "approve"))
                yield f"data_sources.{name}.{key}", asking, approving


def _meet(one: AccessRuleSettings, other: AccessRuleSettings) -> bool:
    """Whether two rules are about the same session in the same channel, for some session and channel."""
    return all(
        mine is None or theirs is None or mine & theirs
        for mine, theirs in ((one.tenants, other.tenants), (one.channels, other.channels))
    )


def _is_one_person(who: frozenset[str]) -> bool:
    """Whether these ids are of a single person: none is a user group's, or everybody's."""
    return len(who) == 1 and not any(one == EVERYBODY or one.startswith("S") for one in who)


def tenants_without(settings: Settings) -> list[str]:
    """Find tenants that are named of data sources of a kind that has none: nothing would ever match them."""
    without = {name for name, source in settings.data_sources.items() if source.kind == "mysql"}
    named: list[tuple[str, tuple[str, ...]]] = [
        (f"data_sources.{name}.{key}", (name,))
        for name in sorted(without)
        for key in ("tenants", "tenant_approval")
        if getattr(settings.data_sources[name], key)
    ]
    for number, rule in enumerate(settings.access):
        if rule.tenants is not None:
            named.append((f"access.{number}.tenants", tuple(rule.data_sources or settings.data_sources)))
    for channel, meant in settings.channels.items():
        source = meant.data_source or settings.default_source
        if meant.tenant is not None and source is not None:
            named.append((f"channels.{channel}.tenant", (source,)))
    return [
        f"{key}: {' and '.join(sorted(sources))} {'has' if len(sources) == 1 else 'have'} no tenants, as no MySQL and "
        "no MariaDB has, so nothing would ever match; leave it out"
        for key, sources in named
        if without.issuperset(sources)
    ]
