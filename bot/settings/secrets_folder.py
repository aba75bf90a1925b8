"""The directory that ``SESSION_BOT_SECRETS`` names: its files are called like variables and hold a value each."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic_settings import BaseSettings, NestedSecretsSettingsSource, SecretsSettingsSource


def secrets_folder() -> Path | None:
    """Return the directory; None where none is named or there is none."""
    named = os.environ.get("SESSION_BOT_SECRETS")
    try:
        return Path(named) if named and Path(named).is_dir() else None
    except OSError:  # as of a name that is too long
        return None


def secrets_source(settings_cls: type[BaseSettings], *, nested: bool) -> NestedSecretsSettingsSource:
    """Read its files for one model; ``nested`` splits their names into sections."""
    return NestedSecretsSettingsSource(
        SecretsSettingsSource(settings_cls),
        secrets_dir=secrets_folder(),
        secrets_nested_delimiter="__" if nested else None,
    )
