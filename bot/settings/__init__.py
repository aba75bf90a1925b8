"""The configuration contract: environment, ``session-bot.toml`` and a secrets directory.

``SESSION_BOT_CONFIG`` names the file, every value of which can be given as
``SESSION_BOT__SECTION__KEY``; ``SESSION_BOT_SECRETS`` names a directory whose files are called like
that (or like the ``SLACK_…`` variables) and hold a value each. Environment beats secrets beats file.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from bot.closing.store.url import read as read_store_url
from bot.errors import ConfigurationError, StoreError
from bot.sessions.model import MAX_LIMIT
from bot.sessions.tls import Tls, TlsMode

PREFIX = "SESSION_BOT__"
DEFAULT_FILE = "session-bot.toml"

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


def _web_address(text: str) -> str:
    """Take a URL whose host and port can be made out, as an HTTP client will have to. Raises ``ValueError``."""
    parts = urlsplit(text)
    if not (text.isascii() and text.isprintable()) or " " in text or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def _api_url(url: str) -> str:
    if not re.fullmatch(r"https?://.+/api/", url) or "@" in _web_address(url):
        raise ValueError
    return url


def _slack_id(value: str) -> str:
    """Take ids only: a name would match nobody, silently."""
    if not re.fullmatch(r"\*|[UWS][A-Z0-9]+", value):
        raise ValueError(
            'a Slack id looks like U0123456789, that of a user group like S0123456789; "*" is every full member'
        )
    return value


def _network(value: object) -> object:
    try:
        return ipaddress.ip_network(str(value), strict=False)
    except ValueError as error:
        raise ValueError("an address or a network looks like 10.0.0.7 or 10.0.0.0/24") from error


Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
ApprovalName = Literal["requester", "second-person"]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Names = Annotated[frozenset[str], Field(min_length=1)]
Who = Annotated[str, AfterValidator(_slack_id)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Encrypted(_Strict):
    """How a server is logged in to; ``Tls`` says what each mode means."""

    tls: TlsMode = "preferred"
    tls_ca: Annotated[str | None, Field(min_length=1)] = None  # a file; None: the CAs that this machine trusts

    @field_validator("tls_ca")
    @classmethod
    def _usable(cls, file: str | None, others: ValidationInfo) -> str | None:
        if others.data.get("tls", "verified") != "verified":
            raise ValueError('no certificate is looked at unless tls = "verified"')
        try:
            Tls("verified", file).context()
        except (OSError, ValueError):
            raise ValueError("it names no file that can be read and holds a certificate in PEM") from None
        return file

    @property
    def encryption(self) -> Tls:
        """The two settings as one."""
        return Tls(self.tls, self.tls_ca)


class DataSourceSettings(_Encrypted):
    """One endpoint; README.md says what each key means."""

    kind: Literal["auto", "oceanbase", "seekdb", "mysql"] = "auto"  # "mysql" is MariaDB as well
    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[
        int, Field(ge=1, le=65535, default_factory=lambda so_far: 3306 if so_far.get("kind") == "mysql" else 2881)
    ]
    user: Annotated[str, Field(min_length=1)]
    password: Annotated[SecretStr, AfterValidator(_password)] = SecretStr("")
    tenants: Names | None = None
    approval: ApprovalName = "requester"
    tenant_approval: dict[str, ApprovalName] = {}  # for sessions of these tenants instead
    break_glass_after: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(hours=1))] | None = None
    show_sql: Literal["digest", "full"] = "digest"
    read_only: bool = False  # nobody closes anything there, whatever the access rules say
    protected_users: frozenset[str] = frozenset()
    protected_modules: frozenset[str] = frozenset()  # as clients set them with dbms_application_info
    protected_sources: frozenset[Network] = frozenset()  # addresses or networks that clients come from
    budget: Annotated[int, Field(ge=1, le=10_000)] = 50  # closes within budget_window; more must be agreed to
    budget_window: Annotated[Duration, Field(ge=timedelta(seconds=10), le=timedelta(days=1))] = timedelta(minutes=10)
    max_targets: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20  # one closing request closes no more


class AccessRuleSettings(_Strict):
    """One allowance; a key left out does not restrict."""

    who: Annotated[frozenset[Who], Field(min_length=1)]
    may: Annotated[frozenset[Literal["view", "close", "approve"]], Field(min_length=1)]
    data_sources: Names | None = None
    tenants: Names | None = None
    channels: Names | None = None


class ChannelSettings(_Strict):
    """What is meant in a channel when nothing is named."""

    data_source: str | None = None
    tenant: str | None = None


class ClosingSettings(_Strict):
    """How closing works everywhere."""

    confirm_within: Annotated[Duration, Field(ge=timedelta(seconds=5), le=timedelta(hours=1))] = timedelta(minutes=2)
    require_reason: bool = False


class StoreSettings(_Encrypted):
    """Where requests and records are kept; ``bot.closing.store.url`` says which URLs there are."""

    url: Annotated[SecretStr, AfterValidator(_store_url)] = SecretStr("sqlite:///session-bot.db")
    keep: Annotated[Duration, Field(ge=timedelta(days=1))] | None = None  # older records are let go; None: never


class SlackSettings(BaseSettings):
    """How to reach Slack, and how Slack reaches the bot: Socket Mode with an app token, else HTTP mode."""

    model_config = SettingsConfigDict(
        env_prefix="SLACK_", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    bot_token: Annotated[SecretStr, AfterValidator(_token("xoxb-"))]
    app_token: Annotated[SecretStr, AfterValidator(_token("xapp-"))] | None = None
    signing_secret: Annotated[
        Annotated[SecretStr, Field(min_length=8), AfterValidator(_token(""))] | None, Field(validate_default=True)
    ] = None
    api_url: Annotated[str, AfterValidator(_api_url)] = "https://slack.com/api/"
    # Where the bot listens: in HTTP mode for Slack as well, in Socket Mode for health and metrics if at all.
    port: Annotated[int, Field(ge=1, le=65535, validation_alias="PORT")] = 3000
    health_port: Annotated[int | None, Field(ge=1, le=65535, validation_alias="HEALTH_PORT")] = None

    @field_validator("signing_secret")
    @classmethod
    def _one_mode(cls, secret: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if "app_token" in others.data and (others.data["app_token"] is None) == (secret is None):
            raise PydanticCustomError("two_modes" if secret else "no_mode", "one of the two tokens")
        return secret

    @property
    def listens_on(self) -> int | None:
        """The port to open, None for none."""
        return self.port if self.app_token is None else self.health_port

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic-settings'
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment, then the secrets directory."""
        return init_settings, env_settings, _secrets(settings_cls)


class Settings(BaseSettings):
    """Everything that the file says; ``slack`` is added from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    default_source: str | None = None
    data_sources: Annotated[dict[Name, DataSourceSettings], Field(min_length=1)]
    access: Annotated[list[AccessRuleSettings], Field(min_length=1)]
    channels: dict[str, ChannelSettings] = {}
    closing: ClosingSettings = ClosingSettings()
    store: StoreSettings = StoreSettings()

    @property
    def longest_budget(self) -> timedelta:
        """How long a close counts at the most, an hour where it is less."""
        return max([timedelta(hours=1), *(source.budget_window for source in self.data_sources.values())])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # same
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what ``load`` has put together, so that its parts can be checked one by one."""
        return (init_settings,)


class Loaded(BaseModel):
    """What could be read: the parts that are right, and a sentence for each that is not."""

    model_config = ConfigDict(frozen=True)

    slack: SlackSettings | None
    settings: Settings | None
    data_sources: dict[str, DataSourceSettings]
    problems: list[str]

    def require(self) -> tuple[SlackSettings, Settings]:
        """Return the settings; raises ``ConfigurationError`` with every problem when there is one."""
        if self.problems or self.slack is None or self.settings is None:
            raise ConfigurationError(self.problems)
        return self.slack, self.settings


def load() -> Loaded:
    """Read everything from where the environment says. Raises nothing: problems are in the answer."""
    problems: list[str] = []
    named = os.environ.get("SESSION_BOT_SECRETS")
    if named and _secrets_folder() is None:
        problems.append(f"SESSION_BOT_SECRETS: there is no directory {named}")
    problems += _unusable_proxy()
    slack = _load_slack(problems)
    raw = _merge(_file(problems), _environment(problems))
    settings = _validate(raw, problems)
    problems += _contradictions(raw)
    if settings is not None:
        problems += _without_approvers(settings)
    return Loaded(slack=slack, settings=settings, data_sources=_usable_sources(raw), problems=problems)


def _load_slack(problems: list[str]) -> SlackSettings | None:
    try:
        return SlackSettings()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(problem["loc"][0]).upper()
            name = name if name in _SLACK_HINTS else f"SLACK_{name}"
            problems.append(_MODE_HINTS.get(problem["type"]) or f"{name}: {_SLACK_HINTS[name]}")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"SESSION_BOT_SECRETS: a file there cannot be read ({type(error).__name__})")
    return None


_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")  # slack_sdk takes the first that is set


def _unusable_proxy() -> list[str]:
    """Find out whether Slack's client can make out the proxy, in whose URL a password may stand."""
    name = next((one for one in _PROXY_VARIABLES if os.environ.get(one)), None)
    if name is None or not os.environ[name].strip():
        return []
    try:
        _web_address(os.environ[name] if "://" in os.environ[name] else f"http://{os.environ[name]}")
    except ValueError:
        return [f"{name}: it is no address of a proxy, such as http://USER:PASSWORD@HOST:PORT"]
    return []


_SLACK_HINTS = {
    "SLACK_BOT_TOKEN": "set it to the app's Bot User OAuth Token, which starts with xoxb- and has no blank",
    "SLACK_APP_TOKEN": "set it to an app-level token with connections:write, which starts with xapp- and has no blank",
    "SLACK_SIGNING_SECRET": "set it to the app's Signing Secret, from its Basic Information",
    "SLACK_API_URL": "it must start with http:// or https:// and end in /api/, with a host between and no login",
    "PORT": "it is the port that Slack's requests come to in HTTP mode, a number from 1 to 65535",
    "HEALTH_PORT": "it is the port of /healthz and /metrics in Socket Mode, a number from 1 to 65535",
}
_MODE_HINTS = {
    "no_mode": "SLACK_APP_TOKEN: set it for Socket Mode, to an app-level token with connections:write, which starts "
    "with xapp-; or set SLACK_SIGNING_SECRET for HTTP mode",
    "two_modes": "SLACK_SIGNING_SECRET: SLACK_APP_TOKEN is set as well; leave this one out for Socket Mode, "
    "or that one for HTTP mode",
}


def _secrets_folder() -> Path | None:
    named = os.environ.get("SESSION_BOT_SECRETS")
    try:
        return Path(named) if named and Path(named).is_dir() else None
    except OSError:  # as of a name that is too long
        return None


def _secrets(settings_cls: type[BaseSettings]) -> NestedSecretsSettingsSource:
    return NestedSecretsSettingsSource(
        SecretsSettingsSource(settings_cls),
        secrets_dir=_secrets_folder(),
        secrets_nested_delimiter="__" if settings_cls is Settings else None,
    )


def _environment(problems: list[str]) -> dict[str, Any]:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    folder = _secrets_folder()
    problems += [
        f"{variable}: there is no such setting"
        for variable in (*os.environ, *(file.name for file in (folder.iterdir() if folder else ())))
        if variable.upper().startswith(PREFIX) and "__".join(variable.upper().split("__")[:2]) not in known
    ]
    try:
        secrets = _secrets(Settings)
        files = [secrets.load_secrets(path) for path in secrets.secrets_paths]
        return _merge(_read(secrets, *files), _read(EnvSettingsSource(Settings), os.environ))
    except SettingsError as error:
        problems.append(f"environment: {error}")
    except (OSError, UnicodeDecodeError):
        pass  # told with the tokens, which are read from the same directory
    return {}


def _read(source: EnvSettingsSource, *given: Mapping[str, str]) -> dict[str, Any]:
    """Read what is ``given`` by its ``source``, but those values that are of one tenant each.

    The source writes all names in lower case and splits them at each ``__``; tenants' names are told apart by both.
    """
    source.env_vars = {name: value for name, value in source.env_vars.items() if _of_tenant(name) is None}
    raw = _known_channels(source())
    for name, value in (one for values in given for one in values.items()):
        if (found := _of_tenant(name)) is not None:
            data_source, tenant = found
            raw = _merge(raw, {"data_sources": {data_source: {"tenant_approval": {tenant: value}}}})
    return raw


def _of_tenant(name: str) -> tuple[str, str] | None:
    """Return data source and tenant of ``SESSION_BOT__DATA_SOURCES__NAME__TENANT_APPROVAL__TENANT``."""
    found = _TENANT_APPROVAL.fullmatch(name)
    return (found[1].lower(), found[2]) if found is not None else None


_TENANT_APPROVAL = re.compile(
    rf"{PREFIX}data_sources__((?:(?!__).)+)__tenant_approval__(.+)", re.IGNORECASE | re.ASCII | re.DOTALL
)


def _known_channels(raw: dict[str, Any]) -> dict[str, Any]:
    """Write channel ids as Slack does: names from the environment arrive in lower case."""
    channels = raw.get("channels")
    return {**raw, "channels": {key.upper(): value for key, value in channels.items()}} if _is_dict(channels) else raw


def _file(problems: list[str]) -> dict[str, Any]:
    named = os.environ.get("SESSION_BOT_CONFIG")
    path = Path(named or DEFAULT_FILE)
    try:
        return _known_channels(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if named:
            problems.append(f"SESSION_BOT_CONFIG: there is no file {path}")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read ({error.__class__.__name__})")
    except (ValueError, RecursionError) as error:
        # Where it is wrong, not what is there: a password may stand in that line. Numbers of thousands of digits
        # and brackets within brackets are no TOMLDecodeError.
        where = re.search(r"\((at line \d+, column \d+|at end of document)\)$", str(error))
        problems.append(f"{path}: is no valid TOML{f' {where[1]}' if where else ''}")
    return {}


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _validate(raw: dict[str, Any], problems: list[str]) -> Settings | None:
    # pydantic-settings takes names with an underscore in front for its own options.
    problems += [f"{key}: there is no such setting" for key in raw if key.startswith("_")]
    try:
        return Settings(**{key: value for key, value in raw.items() if not key.startswith("_")})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
            problems.append(
                f"{where}: {_WORDS.get((where, problem['type'])) or _sentence(problem['type'], problem['msg'])}"
            )
        return None


_NO_RULE = "there is no access rule, so nobody could use the bot; add an [[access]] section with who and may"
_NO_SOURCE = "there is no data source; add a [data_sources.NAME] section with host, port, user and password"
_WORDS = {
    ("access", "missing"): _NO_RULE,
    ("access", "too_short"): _NO_RULE,
    ("data_sources", "missing"): _NO_SOURCE,
    ("data_sources", "too_short"): _NO_SOURCE,
}


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such setting"
    if kind == "missing":
        return "is missing"
    if kind == "string_type":
        return "is no text; put it in quotes"
    return message.removeprefix("Value error, ")


def _contradictions(raw: Mapping[str, Any]) -> list[str]:
    """Find names that stand for nothing, in whatever part of the configuration is readable."""
    known = set(raw.get("data_sources") or ()) if _is_dict(raw.get("data_sources")) else set()
    there = f"there is no such data source; there is {', '.join(sorted(map(str, known))) or 'none'}"
    named: list[tuple[str, object]] = [("default_source", raw.get("default_source"))]
    for number, rule in enumerate(_dicts(raw.get("access"))):
        names = rule.get("data_sources")
        names = names if isinstance(names, list) else ()
        named += [(f"access.{number}.data_sources: {name}", name) for name in names]
    channels = raw.get("channels")
    for channel, meant in channels.items() if _is_dict(channels) else ():
        if _is_dict(meant):
            named.append((f"channels.{channel}.data_source", meant.get("data_source")))
    # What is no name at all has been told as such.
    return [f"{key}: {there}" for key, name in named if isinstance(name, str) and name not in known]


def _without_approvers(settings: Settings) -> list[str]:
    """Find data sources where a second person is wanted and no rule makes anybody one."""
    problems = []
    for name, source in settings.data_sources.items():
        wanted = "second-person" in (source.approval, *source.tenant_approval.values())
        approvers = any(
            "approve" in rule.may and (rule.data_sources is None or name in rule.data_sources)
            for rule in settings.access
        )
        if wanted and not approvers and not source.read_only:
            problems.append(
                f"data_sources.{name}.approval: second-person, yet no access rule lets anybody approve there; "
                'add one with may = ["approve"]'
            )
    return problems


def _is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _usable_sources(raw: Mapping[str, Any]) -> dict[str, DataSourceSettings]:
    """Those data sources that are right by themselves, so that a check can try them all the same."""
    sources = raw.get("data_sources")
    usable = {}
    for name, values in (cast("dict[str, Any]", sources) if isinstance(sources, dict) else {}).items():
        if not isinstance(values, dict):
            continue
        known = {key: value for key, value in values.items() if key in DataSourceSettings.model_fields}
        try:
            usable[str(name)] = DataSourceSettings(**known)
        except ValidationError:
            continue
    return usable
