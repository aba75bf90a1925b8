"""Puts together what was read and checks it; nothing is raised, all problems are in the answer."""

from __future__ import annotations

import contextlib

from pydantic import BaseModel, ConfigDict, ValidationError

from bot.errors import ConfigurationError
from bot.settings import open_secrets, problems, sources
from bot.settings.secrets_folder import Secrets
from bot.settings.sections import (
    AccessRuleSettings,
    ChannelSettings,
    DataSourceSettings,
    Settings,
    SlackSettings,
)
from bot.settings.unread import advice


class Loaded(BaseModel):
    """What could be read: the parts that are right, and a sentence for each that is not."""

    model_config = ConfigDict(frozen=True)

    slack: SlackSettings | None
    settings: Settings | None
    data_sources: dict[str, DataSourceSettings]
    problems: list[str]
    read: str = ""  # what was read, for people
    warnings: list[str] = []  # what works, and should be mended all the same

    def require(self) -> tuple[SlackSettings, Settings]:
        """Return the settings; raises ``ConfigurationError`` with every problem when there is one."""
        if self.problems or self.slack is None or self.settings is None:
            raise ConfigurationError(self.problems)
        return self.slack, self.settings


def load() -> Loaded:
    """Read everything from where the environment says. Raises nothing: problems are in the answer."""
    read = sources.read()
    found = [*read.problems, *problems.unusable_proxy(), *problems.no_file(read)]
    slack = _slack(found, read.secrets)
    settings = _settings(read, found)
    usable = _usable_sources(read) if settings is None else settings.data_sources
    found += problems.contradictions(read)
    found += problems.of_findings(_findings(settings, usable, read), read)
    return Loaded(
        slack=slack,
        settings=None if read.spoiled or read.problems else settings,
        data_sources={name: source for name, source in usable.items() if not read.is_spoiled(("data_sources", name))},
        problems=found,
        read=f"{read.origin}; the environment{'; the secrets directory' if read.secrets.folder is not None else ''}",
        warnings=open_secrets.warnings(read),
    )


def _slack(found: list[str], secrets: Secrets) -> SlackSettings | None:
    try:
        return SlackSettings()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as error:
        found += problems.of_slack(error, secrets)
        return None


def _settings(read: sources.Read, found: list[str]) -> Settings | None:
    raw = read.raw
    if () in read.spoiled or not (read.file or raw):
        return None  # whatever would be said of it follows from what was not read
    # pydantic-settings takes names with an underscore in front for its own options.
    found += [
        f"{read.place_of((key,))}: there is no such setting; {advice((), key)}" for key in raw if key.startswith("_")
    ]
    try:
        return Settings(**{key: value for key, value in raw.items() if not key.startswith("_")})
    except ValidationError as error:
        found += problems.of_settings(error, read)
        return None


def _findings(
    settings: Settings | None, usable: dict[str, DataSourceSettings], read: sources.Read
) -> list[problems.Finding]:
    """Look for what contradicts itself, also where something else is wrong."""
    if settings is None:
        try:
            settings = Settings.model_construct(
                default_source=read.raw.get("default_source"),
                data_sources=usable,
                access=[AccessRuleSettings(**rule) for rule in read.raw["access"]],
                channels={name: ChannelSettings(**meant) for name, meant in read.raw.get("channels", {}).items()},
            )
        except (ValidationError, KeyError, TypeError, AttributeError):
            return []  # who may do what there is not known
    whole = sources.is_dict(written := read.raw.get("data_sources")) and usable.keys() == written.keys()
    return [*problems.without_approvers(settings), *(problems.tenants_without(settings) if whole else ())]


def _usable_sources(read: sources.Read) -> dict[str, DataSourceSettings]:
    """Those data sources that are right by themselves, so that a check can try them all the same."""
    written = read.raw.get("data_sources")
    usable = {}
    for name, values in written.items() if sources.is_dict(written) else ():
        if isinstance(values, dict):
            with contextlib.suppress(ValidationError):
                usable[str(name)] = DataSourceSettings(**values)
    return usable
