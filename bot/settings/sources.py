"""Where settings are read: the file, the environment and the secrets directory, as they stand there."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pydantic_settings import EnvSettingsSource, SettingsError

from bot.settings.secrets_folder import secrets_folder, secrets_source
from bot.settings.sections import PREFIX, Settings

DEFAULT_FILE = "session-bot.toml"


def environment(problems: list[str]) -> dict[str, Any]:
    """Read environment and secrets directory; what cannot be read is added to the problems."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    folder = secrets_folder()
    problems += [
        f"{variable}: there is no such setting"
        for variable in (*os.environ, *(one.name for one in (folder.iterdir() if folder else ())))
        if variable.upper().startswith(PREFIX) and "__".join(variable.upper().split("__")[:2]) not in known
    ]
    try:
        secrets = secrets_source(Settings, nested=True)
        files = [secrets.load_secrets(path) for path in secrets.secrets_paths]
        return merge(_read(secrets, *files), _read(EnvSettingsSource(Settings), os.environ))
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
            raw = merge(raw, {"data_sources": {data_source: {"tenant_approval": {tenant: value}}}})
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
    return {**raw, "channels": {key.upper(): value for key, value in channels.items()}} if is_dict(channels) else raw


def file(problems: list[str]) -> dict[str, Any]:
    """Read the file that is named, or the usual one; what cannot be read is added to the problems."""
    named = os.environ.get("SESSION_BOT_CONFIG")
    path = Path(named or DEFAULT_FILE)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
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


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put one set of values over another, section by section."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a raw value is a section."""
    return isinstance(value, dict)


def dicts(value: object) -> list[dict[str, Any]]:
    """Return the sections in a raw list, [] for what is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
