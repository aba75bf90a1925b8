"""Where settings are read: the file, the environment and the secrets directory, as they stand there."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from pydantic_settings import EnvSettingsSource, SettingsError

from bot.settings import secrets_folder, unreadable
from bot.settings.expected import Keys, in_json, is_setting
from bot.settings.secrets_folder import Secrets
from bot.settings.sections import PREFIX, Settings
from bot.settings.unread import ENVIRONMENT_ALONE, Misspelt, is_of_a_service, meant_source, misspelt

DEFAULT_FILE = "session-bot.toml"


@dataclass(frozen=True, slots=True)
class Place:
    """One place where settings stand, and what stands there.

    ``name`` is what people know it by: a path, or a variable. ``at`` is the key that a variable is for, () for a file.
    """

    name: str
    at: Keys
    raw: dict[str, Any]

    def has(self, keys: Keys) -> bool:
        """Whether something stands there at these keys."""
        found: Any = self.raw
        for key in keys:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return False
        return True


@dataclass(slots=True)
class Read:
    """All that was read, the places that count more last."""

    file: Path | None = None  # None where there is none, or none that can be read
    origin: str = ""  # which file was read, for people, or why none was
    places: list[Place] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    spoiled: list[Keys] = field(default_factory=list)  # what stands at these keys, or was meant for them, is not known
    secrets: Secrets = field(default_factory=Secrets)

    @property
    def raw(self) -> dict[str, Any]:
        """Everything put together."""
        together: dict[str, Any] = {}
        for place in self.places:
            together = merge(together, place.raw)
        return together

    def is_spoiled(self, keys: Keys) -> bool:
        """Whether it is not known what was meant to stand at these keys, or at some below them."""
        return any(keys[: len(one)] == one or one[: len(keys)] == keys for one in self.spoiled)

    def place_of(self, keys: Keys) -> str:
        """Say where the value of a key stands, and what of the key is not said by that already.

        A key that stands nowhere would stand where its section does.
        """
        for place in reversed(self.places):
            if place.has(keys):
                return told(place.name, keys[len(place.at) :])
        section = keys[:-1]
        holding = [place for place in self.places if len(place.at) < len(keys) and place.has(section)]
        if holding and section:
            return told(holding[0].name, keys[len(holding[0].at) :])
        return told(str(self.file), keys) if self.file else variable(keys)


def told(place: str, keys: Keys) -> str:
    """Name a key of a place."""
    return ": ".join((place, ".".join(map(str, keys)))) if keys else place


def variable(keys: Keys) -> str:
    """Return the environment variable of a key."""
    return PREFIX + "__".join(str(key).upper() for key in keys)


def read() -> Read:
    """Read everything from where the environment says. Raises nothing: what cannot be read is among the problems."""
    found = Read(secrets=secrets_folder.read())
    found.problems += found.secrets.problems
    found.spoiled += [_keys_of(name) for name in found.secrets.spoiled if name.upper().startswith(PREFIX)]
    if "*" in found.secrets.spoiled:
        found.spoiled.append(())
    _read_file(found)
    given = [(found.secrets.path(name), name, value) for name, value in found.secrets.values.items()]
    given += [(name, name, value) for name, value in os.environ.items()]
    ours = [one for one in given if one[1].upper().replace("_", "").startswith(("SESSIONBOT", "SESSIONSBOT"))]
    unread = [one for one in ours if not _is_read(*one)]
    _read_variables(found, [one for one in ours if one not in unread and one[1].upper().startswith(PREFIX)])
    _drop_half_sources(found)
    names = found.raw.get("data_sources")
    sources = [str(name) for name in names] if is_dict(names) else []
    for place, name, _ in unread:
        meant = misspelt(name, sources)
        if place != name and name in ENVIRONMENT_ALONE:
            meant = Misspelt("it is read from the environment alone", ())
        _tell_misspelt(found, place, meant)
    return found


def _tell_misspelt(found: Read, place: str, meant: Misspelt) -> None:
    found.problems.append(f"{place}: there is no such setting; {meant.advice}")
    if meant.keys is not None:
        found.spoiled.append(meant.keys)


def _is_read(place: str, name: str, value: str) -> bool:
    """Whether something reads a variable, or a file of the secrets directory, of this name."""
    if name.upper().startswith(PREFIX):
        return is_setting(_keys_of(name))
    in_environment = place == name
    return in_environment and (name in ENVIRONMENT_ALONE or is_of_a_service(name, value))


def _read_variables(found: Read, given: list[tuple[str, str, str]]) -> None:
    """Read variables one by one, those of a whole section before those of its keys, and secrets before the others."""
    source = EnvSettingsSource(Settings)
    of_files = [one for one in given if one[0] != one[1]]
    for one in (of_files, [one for one in given if one[0] == one[1]]):
        for place, name, value in sorted(one, key=lambda given: len(_keys_of(given[1]))):
            keys = _keys_of(name)
            try:
                raw = _nested(source, name, value)
            except (SettingsError, RecursionError):
                found.problems.append(f"{place}: is no JSON that can be read; such as {in_json(keys)} is")
                found.spoiled.append(keys)
            else:
                found.places.append(Place(place, keys, raw))


def _nested(source: EnvSettingsSource, name: str, value: str) -> dict[str, Any]:
    """Return one value in its sections. A tenant's name is taken as it stands, be it with capitals or a ``__``.

    The source writes all names in lower case and splits them at each ``__``.
    """
    if (tenant := _of_tenant(name)) is not None:
        return {"data_sources": {tenant[0]: {"tenant_approval": {tenant[1]: value}}}}
    source.env_vars = {name.lower(): value}
    return _known_channels(source())


def _keys_of(name: str) -> Keys:
    """Return the key that a variable is for."""
    if (tenant := _of_tenant(name)) is not None:
        return ("data_sources", tenant[0], "tenant_approval", tenant[1])
    first, *others = name[len(PREFIX) :].lower().split("__")
    return (first, *((others[0].upper(), *others[1:]) if first == "channels" and others else others))


def _of_tenant(name: str) -> tuple[str, str] | None:
    """Return data source and tenant of ``SESSION_BOT__DATA_SOURCES__NAME__TENANT_APPROVAL__TENANT``."""
    found = _TENANT_APPROVAL.fullmatch(name)
    return (found[1].lower(), found[2]) if found is not None else None


_TENANT_APPROVAL = re.compile(
    rf"{PREFIX}data_sources__((?:(?!__).)+)__tenant_approval__(.+)", re.IGNORECASE | re.ASCII | re.DOTALL
)


def _drop_half_sources(found: Read) -> None:
    """Tell variables of a data source that has no host: its name is misspelt, or the rest of it is missing."""
    raw = found.raw.get("data_sources")
    if found.is_spoiled(("data_sources",)) or not is_dict(raw):
        return
    known = [name for name, source in raw.items() if is_dict(source) and "host" in source]
    for place in [place for place in found.places if len(place.at) > 2 and place.at[0] == "data_sources"]:
        name = str(place.at[1])
        if any(one.has(place.at[:2]) for one in found.places if len(one.at) < 3) or name in known:
            continue
        found.places.remove(place)
        meant = meant_source(name, known)
        keys = ("data_sources", meant, *place.at[2:]) if meant is not None else None
        instead = f"did you mean {variable(keys)}? Or " if keys is not None else ""
        found.problems.append(
            f"{place.name}: there is no data source {name}; {instead}set "
            f"{variable(('data_sources', name, 'host'))} and {variable(('data_sources', name, 'user'))} for it as well"
        )
        found.spoiled += [place.at[:2], *([keys] if keys is not None else [])]


def _known_channels(raw: dict[str, Any]) -> dict[str, Any]:
    """Write channel ids as Slack does: names from the environment arrive in lower case."""
    channels = raw.get("channels")
    return {**raw, "channels": {key.upper(): value for key, value in channels.items()}} if is_dict(channels) else raw


def _read_file(found: Read) -> None:
    """Read the file that is named, or the usual one. Where it cannot be read, nothing is known of any setting."""
    named = os.environ.get("SESSION_BOT_CONFIG")
    path = Path(named or DEFAULT_FILE)
    try:
        # Some editors begin a file with a mark that is no text.
        raw = tomllib.loads(path.read_text(encoding="utf-8").removeprefix("\ufeff"))
    except FileNotFoundError:
        if not named and not path.is_symlink():
            found.origin = f"no file: SESSION_BOT_CONFIG is not set, and there is no {path.absolute()}"
            return
        found.problems.append(f"SESSION_BOT_CONFIG: there is no file {path}; set it to the path of the configuration")
    except (OSError, UnicodeDecodeError) as error:
        found.problems.append(f"{path}: {unreadable.configuration(error)}")
    except (ValueError, RecursionError) as error:
        found.problems.append(f"{path}: {unreadable.no_toml(error)}")
    else:
        found.places.append(Place(str(path), (), raw))
        found.file, found.origin = path, str(path.absolute())
        return
    found.origin = f"not {path.absolute()}"
    found.spoiled.append(())


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


def dicts(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the sections in a raw list with their places, none for what is no list."""
    yield from ((at, item) for at, item in enumerate(value if isinstance(value, list) else ()) if is_dict(item))
