"""What `check` asks Slack: its tokens, its scopes, and whether there are the people and channels that settings name.

Nothing here connects: whoever is connected in Socket Mode is handed people's commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk import WebClient
from slack_sdk.web import SlackResponse

from bot.access import EVERYBODY
from bot.operations.reports import Report, Verdict
from bot.settings import Settings, SlackSettings
from bot.settings.problems import without_second_persons
from bot.slack.delivery.retries import one_try
from bot.slack.directory import home_of, is_ours
from bot.slack.slack_errors import CALL_ERRORS, NO_GROUP, NO_PERSON, of_app_token, slack_error
from bot.slack.user_groups import UserGroups


@dataclass(frozen=True, slots=True)
class _Scope:
    """A scope of the manifest: what does not work ``without`` it, and whether nothing is of use then."""

    without: str
    indispensable: bool = False


# Those of manifest.yml and manifest-http.yml (docs/slack.md 6).
SCOPES: Mapping[str, _Scope] = {
    "commands": _Scope("/sessions and /kill-session do not work", indispensable=True),
    "chat:write": _Scope("no list, card or outcome is posted or kept up to date", indispensable=True),
    "files:write": _Scope("statements too long for a window and files of /sessions audit cannot be sent"),
    "im:write": _Scope("no direct message is sent: no file, no call for approval, nothing whose channel is gone"),
    "users:read": _Scope('it is not known who is a full member: access rules that name "*" allow nothing'),
    "usergroups:read": _Scope("it is not known who is in a user group: access rules that name one allow nothing"),
    "channels:read": _Scope("a public channel that other organisations read counts as one's own"),
    "groups:read": _Scope("a private channel that other organisations read counts as one's own"),
}
_OF_SHARED_CHANNELS = ("channels:read", "groups:read")
_MEND = "add it under OAuth & Permissions, as the manifest has it, and install the app anew"
_APP_TOKEN = re.compile(r"xapp-\d+-(A[A-Z0-9]+)-")  # docs/slack.md 4.6
_SCOPES_HEADER = "x-oauth-scopes"  # docs/slack.md 6: the scopes of the token that a call was made with


def token(client: WebClient) -> tuple[Report, SlackResponse | None]:
    """Ask Slack who the bot is; returns what it answers where it does."""
    try:
        with one_try():  # who waits here wants to know
            answer = client.auth_test()
    except CALL_ERRORS as error:
        what = slack_error(error)
        if what.authorization:
            return (Verdict.FAILS, what.refusing("SLACK_BOT_TOKEN")), None
        away = f"Slack does not say who the bot is ({what.why}: {what.word}); {what.advice}"
        return (Verdict.AWAY, away), None
    whole = ", of the whole organisation" if answer.get("is_enterprise_install") else ""
    return (Verdict.WORKS, f"Slack: {answer.get('team')}, as {answer.get('user')}{whole}"), answer


def everything(client: WebClient, slack: SlackSettings, settings: Settings | None) -> list[Report]:
    """Try all that Slack can be asked, one sentence for each."""
    report, answer = token(client)
    reports = [report, _way_in(client, slack)]
    if answer is not None:
        reports += _of_another_app(client, slack, answer)
        reports += _scopes(answer.headers, settings)
        if settings is not None:
            reports += _named(client, settings, *home_of(answer))
    return reports


def _way_in(client: WebClient, slack: SlackSettings) -> Report:
    """Try what Slack's deliveries come by: the app's token is used, and the connection that it opens is not."""
    if slack.app_token is None:
        return Verdict.UNTRIED, "SLACK_SIGNING_SECRET: only Slack's first request will show whether it is the app's"
    try:
        with one_try():
            client.apps_connections_open(app_token=slack.app_token.get_secret_value())
    except CALL_ERRORS as error:
        what = slack_error(error)
        if not what.authorization:
            away = f"Slack does not say whether Socket Mode works ({what.why}: {what.word}); {what.advice}"
            return Verdict.AWAY, away
        return Verdict.FAILS, of_app_token(what).refusing("SLACK_APP_TOKEN")
    return Verdict.WORKS, "SLACK_APP_TOKEN: Slack opens a connection for it in Socket Mode"


def _of_another_app(client: WebClient, slack: SlackSettings, answer: SlackResponse) -> list[Report]:
    """Find tokens of two apps: each works, and commands for the one would come in at the other."""
    named = _APP_TOKEN.match(slack.app_token.get_secret_value()) if slack.app_token is not None else None
    if named is None or not answer.get("bot_id"):
        return []
    try:
        with one_try():
            bot = client.bots_info(bot=answer["bot_id"], team_id=answer.get("team_id") or None).get("bot") or {}
    except CALL_ERRORS as error:
        unknown = f"whether it is of the same app as SLACK_BOT_TOKEN is not known ({slack_error(error).why})"
        return [(Verdict.UNTRIED, f"SLACK_APP_TOKEN: {unknown}")]
    app = bot.get("app_id")
    if not app or app == named[1]:
        return []
    other = (
        f"it is of another app than SLACK_BOT_TOKEN, so that no command comes in; set it to a token of the app {app}"
    )
    return [(Verdict.FAILS, f"SLACK_APP_TOKEN: {other}")]


def _scopes(headers: Mapping[str, Any], settings: Settings | None) -> Iterator[Report]:
    """Compare the token's scopes with those of the manifest."""
    said = next((value for name, value in headers.items() if name.lower() == _SCOPES_HEADER), None)
    if said is None:
        yield Verdict.UNTRIED, f"Slack did not say which scopes the app has: its answer has no {_SCOPES_HEADER}"
        return
    given = {scope.strip() for scope in str(said).split(",")}
    unwanted = _OF_SHARED_CHANNELS if settings is not None and settings.allow_shared_channels else ()
    missing = [name for name in SCOPES if name not in given and name not in unwanted]
    for name in missing:
        fails = SCOPES[name].indispensable or name in _wanted_by_rules(settings)
        yield (
            Verdict.FAILS if fails else Verdict.LESS,
            f"Slack: the app lacks the scope {name}, so that {SCOPES[name].without}; {_MEND}",
        )
    if not missing:
        yield Verdict.WORKS, "Slack: the app has the scopes of the manifest"


def _wanted_by_rules(settings: Settings | None) -> set[str]:
    """Name the scopes without which some access rule allows nothing."""
    who = {one for rule in settings.access for one in rule.who} if settings is not None else set()
    wanted = {"users:read"} if EVERYBODY in who else set()
    return wanted | ({"usergroups:read"} if any(one.startswith("S") for one in who) else set())


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Looks ids up one by one: ``ask`` says what is wrong with one, None where nothing is, and raises where unknown."""

    what: str
    ask: Callable[[str], Report | None]
    scope: str  # that it wants


def _named(client: WebClient, settings: Settings, team: str, enterprise: str) -> Iterator[Report]:
    """Look up in Slack each id that the settings name: one that nobody has matches nothing, silently."""
    user_groups, allowed = UserGroups(client, org_wide=not team), settings.allow_shared_channels
    members: dict[str, frozenset[str]] = {}
    who = [(f"access.{number}.who", one) for number, rule in enumerate(settings.access) for one in sorted(rule.who)]
    channels = [
        (f"access.{number}.channels", one)
        for number, rule in enumerate(settings.access)
        for one in sorted(rule.channels or ())
    ]
    channels += [("channels", channel) for channel in settings.channels]
    people = [(key, one) for key, one in who if one[0] in "UW"]
    groups = [(key, one) for key, one in who if one[0] == "S"]
    # Direct messages have ids of their own, which one alone can open.
    open_to_many = [(key, one) for key, one in channels if one[0] != "D"]
    yield from _looked_up(people, _Lookup("people", lambda one: _person(client, one, team, enterprise), "users:read"))
    yield from _looked_up(
        groups, _Lookup("user groups", lambda one: _group(user_groups, one, members), "usergroups:read")
    )
    told = without_second_persons(settings)  # whoever is in the groups
    yield from ((Verdict.FAILS, one) for one in without_second_persons(settings, members) if one not in told)
    yield from _looked_up(
        open_to_many,
        _Lookup("channels", lambda one: _channel(client, one, shared=allowed), "channels:read or groups:read"),
    )


def _looked_up(named: Sequence[tuple[str, str]], lookup: _Lookup) -> Iterator[Report]:
    found: dict[str, Report | None] = {}
    for key, one in named:
        if one not in found:
            try:
                found[one] = lookup.ask(one)
            except CALL_ERRORS as error:
                what = slack_error(error)
                left = sorted({name for _, name in named} - set(found))
                needs = f"the app has no scope {lookup.scope}" if what.word == "missing_scope" else what.why
                yield (
                    Verdict.UNTRIED,
                    f"{lookup.what} that settings name were not looked up ({needs}); compare their ids in Slack: "
                    f"{', '.join(left)}",
                )
                return
        problem = found[one]
        if problem is not None:
            yield problem[0], f"{key}: {problem[1]}"


def _person(client: WebClient, user: str, team: str, enterprise: str) -> Report | None:
    try:
        found = client.users_info(user=user).get("user") or {}
    except CALL_ERRORS as error:
        if slack_error(error).word not in NO_PERSON:
            raise
        return Verdict.FAILS, f"Slack knows nobody with the id {user}; copy it from the profile: ⋮, Copy member ID"
    if found.get("is_bot"):
        return Verdict.FAILS, f"{user} is an app, which uses no commands; take it out"
    if is_ours(found, team, enterprise) is False:
        return Verdict.LESS, f"{user} is of another organisation, whose people may do nothing; take the id out"
    if found.get("deleted"):
        return Verdict.LESS, f"{user} is deactivated in Slack; take the id out"
    return None


def _group(user_groups: UserGroups, group: str, members: dict[str, frozenset[str]]) -> Report | None:
    """Look a user group up, and note its members."""
    try:
        members[group] = user_groups.members(group)
    except CALL_ERRORS as error:
        if slack_error(error).word != NO_GROUP:
            raise
        return Verdict.FAILS, f"Slack knows no user group with the id {group}; copy it from the group: ⋮, Copy group ID"
    return None if members[group] else (Verdict.LESS, f"nobody is in the user group {group}; add somebody in Slack")


def _channel(client: WebClient, channel: str, *, shared: bool) -> Report | None:
    try:
        found = client.conversations_info(channel=channel).get("channel") or {}
    except CALL_ERRORS as error:
        if slack_error(error).word != "channel_not_found":
            raise
        # So Slack answers of a private channel without the bot, too.
        return (
            Verdict.LESS,
            f"Slack shows the bot no channel with the id {channel}; compare it with the one at the bottom of the "
            "channel's About. Where the channel is private, invite the bot, and it is looked up",
        )
    if found.get("is_archived"):
        return Verdict.LESS, f"the channel {channel} is archived, so that nobody can ask anything there"
    if found.get("is_ext_shared") and not shared:
        return (
            Verdict.LESS,
            f"other organisations read the channel {channel}, so that the bot does nothing there; name another one, or "
            "set allow_shared_channels = true",
        )
    if found.get("is_member") is False:
        return (
            Verdict.LESS,
            f"the bot is not in the channel {channel}, where its cards are kept up to date for half an hour at the "
            "most then; invite it there",
        )
    return None
