"""Single values: durations, tokens, hosts, URLs, ids, networks. What is said of a wrong one never quotes it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from bot.closing.store.url import read as read_store_url
from bot.errors import StoreError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> object:
    """Read 90, "90s", "5m" or "2h"."""
    match = re.fullmatch(r"(\d{1,9})\s*([smhd]?)", str(value).strip())
    if match is None:
        raise ValueError("a duration is a number with s, m, h or d, for example 90s or 2m")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2] or "s"])


def _token(start: str) -> Callable[[SecretStr], SecretStr]:
    def check(token: SecretStr) -> SecretStr:
        # Of anything else no header can be made, and who tries to quotes it.
        if not re.fullmatch(rf"{start}[!-~]+", token.get_secret_value()):
            raise ValueError(start)
        return token

    return check


def _password(password: SecretStr) -> SecretStr:
    try:
        password.get_secret_value().encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("it holds half a character, which no server can be sent") from None
    return password


def _store_url(url: SecretStr) -> SecretStr:
    try:
        read_store_url(url.get_secret_value())
    except StoreError as error:
        raise ValueError(error.sentence) from None
    return url


def _audit_log(place: str) -> str:
    if place != "stdout" and not (place.startswith("/") and place.isprintable() and not place.endswith("/")):
        raise ValueError('it is "stdout" or a whole path, such as "/var/log/session-bot/audit.log"')
    return place


def _host(host: str) -> str:
    """Take a name or an address alone: whoever writes a URL here may have written a password in it."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return host
    try:
        host.encode("idna")  # as who resolves it does: "db..example" is no name
        if host.isprintable() and re.fullmatch(r"[^\s/@:?#\[\]]+", host):
            return host
    except UnicodeError:
        pass
    raise ValueError("a host is a name or an address and nothing else; port, user and password have keys of their own")


def web_address(text: str) -> str:
    """Take a URL whose host and port can be made out, as an HTTP client will have to. Raises ``ValueError``."""
    parts = urlsplit(text)
    if not (text.isascii() and text.isprintable()) or " " in text or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def _api_url(url: str) -> str:
    if not re.fullmatch(r"https?://.+/api/", url) or "@" in web_address(url):
        raise ValueError
    return url


def _slack_id(value: str) -> str:
    """Take ids only: a name would match nobody, silently."""
    if not re.fullmatch(r"\*|[UWS][A-Z0-9]+", value):
        raise ValueError(
            'a Slack id looks like U0123456789, that of a user group like S0123456789; "*" is every full member'
        )
    return value


def _channel_id(value: str) -> str:
    """Take ids only, and no name that looks like one: where nobody has the id of a channel, nothing is matched.

    Slack's ids have nine characters or more, and nearly all of them a digit; names of channels have no capitals.
    """
    if not (re.fullmatch(r"[CGD][A-Z0-9]+", value) and (len(value) >= 9 or re.search(r"\d", value))):
        raise ValueError(
            "the id of a channel looks like C0123456789, and its name matches nothing; in Slack open the channel's "
            "details: its id stands at the bottom of About"
        )
    return value


def _network(value: object) -> object:
    try:
        return ipaddress.ip_network(str(value), strict=False)
    except ValueError as error:
        raise ValueError("an address or a network looks like 10.0.0.7 or 10.0.0.0/24") from error


def _bind_address(text: str) -> str:
    """Take an address alone: a name may stand for several, or for one that nobody meant."""
    return str(ipaddress.ip_address(text))


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the bot listens, and which variables say so, for sentences about it."""

    host: str | None  # an address; None: every one of this machine, IPv6 as well as IPv4
    port: int
    port_variable: str
    host_variable: str


ApiUrl = Annotated[str, AfterValidator(_api_url)]
ApprovalName = Literal["requester", "second-person"]
AppToken = Annotated[SecretStr, AfterValidator(_token("xapp-"))]
AuditLog = Annotated[str, AfterValidator(_audit_log)]
BindAddress = Annotated[str, AfterValidator(_bind_address)]
BotToken = Annotated[SecretStr, AfterValidator(_token("xoxb-"))]
ChannelId = Annotated[str, AfterValidator(_channel_id)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Host = Annotated[str, AfterValidator(_host)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Names = Annotated[frozenset[str], Field(min_length=1)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
Password = Annotated[SecretStr, AfterValidator(_password)]
Port = Annotated[int, Field(ge=1, le=65535)]
SigningSecret = Annotated[SecretStr, Field(min_length=8), AfterValidator(_token(r"(?!xox|xapp-|https?:)"))]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
Who = Annotated[str, AfterValidator(_slack_id)]
