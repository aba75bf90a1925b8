"""What there is to set, section by section."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bot.sessions.model import MAX_LIMIT
from bot.sessions.pool import MAX_AGE
from bot.sessions.tls import Tls, TlsMode
from bot.settings import secrets_folder
from bot.settings.values import (
    ApiUrl,
    ApprovalName,
    AppToken,
    AuditLog,
    BindAddress,
    BotToken,
    ChannelId,
    Duration,
    Host,
    ListenAddress,
    Name,
    Names,
    Network,
    Password,
    Port,
    SigningSecret,
    StoreUrl,
    Who,
)

PREFIX = "SESSION_BOT__"


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
    """One endpoint; docs/install.md says what each key means."""

    kind: Literal["auto", "oceanbase", "seekdb", "mysql"] = "auto"  # "mysql" is MariaDB as well
    host: Host
    port: Annotated[Port, Field(default_factory=lambda so_far: 3306 if so_far.get("kind") == "mysql" else 2881)]
    user: Annotated[str, Field(min_length=1)]
    password: Password = SecretStr("")
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
    # After that a connection is replaced by one to whoever has the address then.
    connection_max_age: Annotated[Duration, Field(ge=timedelta(seconds=5), le=timedelta(hours=1))] = MAX_AGE


class AccessRuleSettings(_Strict):
    """One allowance; a key left out does not restrict."""

    who: Annotated[frozenset[Who], Field(min_length=1)]
    may: Annotated[frozenset[Literal["view", "close", "approve"]], Field(min_length=1)]
    data_sources: Names | None = None
    tenants: Names | None = None
    channels: Annotated[frozenset[ChannelId], Field(min_length=1)] | None = None


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

    url: StoreUrl = SecretStr("sqlite:///session-bot.db")
    keep: Annotated[Duration, Field(ge=timedelta(days=1))] | None = None  # older records are let go; None: never
    audit_log: AuditLog | None = None  # where each act is written as a line of JSON besides; None: nowhere


class TriageSettings(_Strict):
    """From when on ``/sessions triage`` calls something wrong; README.md says what each key means."""

    # Triage gives up on a data source after 15 s, and one read must leave it time for the others.
    timeout: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(seconds=10))] = timedelta(seconds=2)
    statement_over: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=1))] = timedelta(seconds=60)
    idle_transaction_over: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=1))] = timedelta(
        seconds=60
    )
    same_statement: Annotated[int, Field(ge=2, le=1_000)] = 10  # sessions that run it at once
    same_statement_over: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=1))] = timedelta(seconds=5)
    near_limit: Annotated[int, Field(ge=1, le=100)] = 80  # per cent of a limit on connections
    killed_over: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=1))] = timedelta(seconds=30)
    deadlocks_within: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=7))] = timedelta(minutes=15)


class SlackSettings(BaseSettings):
    """How to reach Slack, and how Slack reaches the bot: Socket Mode with an app token, else HTTP mode."""

    model_config = SettingsConfigDict(
        env_prefix="SLACK_", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    bot_token: BotToken
    app_token: AppToken | None = None
    signing_secret: Annotated[SigningSecret | None, Field(validate_default=True)] = None
    api_url: ApiUrl = "https://slack.com/api/"
    # For Slack, in HTTP mode alone.
    port: Annotated[Port, Field(validation_alias="PORT")] = 3000
    bind_address: Annotated[BindAddress | None, Field(validation_alias="BIND_ADDRESS")] = None  # None: all addresses
    # For health and metrics. None: in HTTP mode ``port`` as well, in Socket Mode nowhere.
    health_port: Annotated[Port | None, Field(validation_alias="HEALTH_PORT")] = None
    # None: that of ``port``.
    health_bind_address: Annotated[BindAddress | None, Field(validation_alias="HEALTH_BIND_ADDRESS")] = None

    @field_validator("signing_secret")
    @classmethod
    def _one_mode(cls, secret: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if "app_token" in others.data and (others.data["app_token"] is None) == (secret is None):
            raise PydanticCustomError("two_modes" if secret else "no_mode", "one of the two tokens")
        return secret

    @field_validator("health_bind_address")
    @classmethod
    def _of_a_port(cls, address: str | None, others: ValidationInfo) -> str | None:
        known = others.data
        if address is None or not {"app_token", "port", "bind_address", "health_port"} <= known.keys():
            return address
        shared = known["app_token"] is None and known["health_port"] in (None, known["port"])
        if (shared and address != known["bind_address"]) or (not shared and known["health_port"] is None):
            raise PydanticCustomError("no_port_of_its_own", "an address without a port")
        return address

    @property
    def events_at(self) -> ListenAddress | None:
        """Where Slack's requests come to; None in Socket Mode."""
        if self.app_token is not None:
            return None
        return ListenAddress(self.bind_address, self.port, "PORT", "BIND_ADDRESS")

    @property
    def health_at(self) -> ListenAddress | None:
        """Where health and metrics are found: with Slack's requests, where that is one port; None for nowhere."""
        at = self.events_at
        if self.health_port is None or (at is not None and self.health_port == at.port):
            return at
        if self.health_bind_address is None:
            return ListenAddress(self.bind_address, self.health_port, "HEALTH_PORT", "BIND_ADDRESS")
        return ListenAddress(self.health_bind_address, self.health_port, "HEALTH_PORT", "HEALTH_BIND_ADDRESS")

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
        return init_settings, env_settings, secrets_folder.source(settings_cls, secrets_folder.read().values)


class Settings(BaseSettings):
    """Everything that the file says; ``slack`` is added from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    default_source: str | None = None
    allow_shared_channels: bool = False  # also where people of other organisations read along (Slack Connect)
    data_sources: Annotated[dict[Name, DataSourceSettings], Field(min_length=1)]
    access: Annotated[list[AccessRuleSettings], Field(min_length=1)]
    channels: dict[ChannelId, ChannelSettings] = {}
    closing: ClosingSettings = ClosingSettings()
    store: StoreSettings = StoreSettings()
    triage: TriageSettings = TriageSettings()

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
