"""Puts together what was read and checks it; nothing is raised, all problems are in the answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bot.errors import ConfigurationError
from bot.settings import problems, sources
from bot.settings.secrets_folder import secrets_folder
from bot.settings.sections import DataSourceSettings, Settings, SlackSettings


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
    found: list[str] = []
    named = os.environ.get("SESSION_BOT_SECRETS")
    if named and secrets_folder() is None:
        found.append(f"SESSION_BOT_SECRETS: there is no directory {named}")
    found += problems.unusable_proxy()
    slack = _slack(found)
    raw = sources.merge(sources.file(found), sources.environment(found))
    settings = _settings(raw, found)
    found += problems.contradictions(raw)
    if settings is not None:
        found += problems.without_approvers(settings)
        found += problems.tenants_without(settings)
    return Loaded(slack=slack, settings=settings, data_sources=_usable_sources(raw), problems=found)


def _slack(found: list[str]) -> SlackSettings | None:
    try:
        return SlackSettings()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as error:
        found += problems.of_slack(error)
    except (OSError, UnicodeDecodeError) as error:
        found.append(f"SESSION_BOT_SECRETS: a file there cannot be read ({type(error).__name__})")
    return None


def _settings(raw: dict[str, Any], found: list[str]) -> Settings | None:
    # pydantic-settings takes names with an underscore in front for its own options.
    found += [f"{key}: there is no such setting" for key in raw if key.startswith("_")]
    try:
        return Settings(**{key: value for key, value in raw.items() if not key.startswith("_")})
    except ValidationError as error:
        found += problems.of_settings(error)
        return None


def _usable_sources(raw: Mapping[str, Any]) -> dict[str, DataSourceSettings]:
    """Those data sources that are right by themselves, so that a check can try them all the same."""
    written = raw.get("data_sources")
    usable = {}
    for name, values in written.items() if sources.is_dict(written) else ():
        if not isinstance(values, dict):
            continue
        known = {key: value for key, value in values.items() if key in DataSourceSettings.model_fields}
        with contextlib.suppress(ValidationError):
            usable[str(name)] = DataSourceSettings(**known)
    return usable
