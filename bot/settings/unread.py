"""Variables that look like the bot's own and that nothing reads: what was probably meant by them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.settings.expected import Keys, is_setting, keys_of, sections_with
from bot.settings.sections import PREFIX

ENVIRONMENT_ALONE = ("SESSION_BOT_CONFIG", "SESSION_BOT_SECRETS")  # they say where all others are read

_ALIKE = 0.7  # of 1: how alike the names of variables are of which one may be meant by the other
_KEYS_ALIKE = 0.6

# What Kubernetes tells each container of the Services beside it, such as one of the name session-bot.
_OF_A_SERVICE = re.compile(
    r"SESSION_?S?_BOT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Misspelt:
    """What to do about a name that nothing reads, and the key that was probably meant, None where no guess is good."""

    advice: str
    keys: Keys | None


def is_of_a_service(name: str, value: str) -> bool:
    """Whether Kubernetes has set a variable for a Service."""
    links = value.startswith(("tcp://", "udp://", "sctp://")) and name.endswith("_PORT")
    return links or _OF_A_SERVICE.fullmatch(name) is not None


def misspelt(name: str, sources: Sequence[str]) -> Misspelt:
    """Guess what a variable of that name was meant to be, where these data sources are known."""
    readable = {_bare(one): (one, keys) for one, keys in _readable(sources)}
    alike = difflib.get_close_matches(_bare(name), readable, 1, _ALIKE)
    above = [one for one in readable.values() if name.upper().startswith(f"{one[0]}__") and not _has_keys(one[1])]
    if not alike and not above:
        return Misspelt(f"a setting's variable is {PREFIX}SECTION__KEY, such as {PREFIX}STORE__URL", None)
    meant, keys = readable[alike[0]] if alike else above[0]
    return Misspelt(f"did you mean {meant}?", keys)


def meant_source(name: str, sources: Sequence[str]) -> str | None:
    """Guess which data source was meant, None where no guess is good."""
    alike = difflib.get_close_matches(name, sources, 1, _KEYS_ALIKE)
    return alike[0] if alike else None


def meant_key(section: Keys, key: str) -> str | None:
    """Guess which key of a section was meant, None where no guess is good."""
    alike = difflib.get_close_matches(key.lower().replace("-", "_"), keys_of(section), 1, _KEYS_ALIKE)
    return alike[0] if alike else None


def advice(section: Keys, key: str) -> str:
    """Say what to do about a key that its section does not have."""
    if (meant := meant_key(section, key)) is not None:
        return f"did you mean {meant}?"
    elsewhere = [header or "the top of the file, above its first [section]" for header in sections_with(key)]
    if elsewhere:
        return f"{key} belongs to {' or '.join(elsewhere)}"
    return f"there is {', '.join(keys_of(section))}"


def slack_variable(wanted: str, names: Iterable[str]) -> str | None:
    """Return the variable that was probably meant to be the wanted one of Slack's."""
    others = [name for name in names if name.upper().startswith("SLACK") and name.upper() not in _OF_SLACK]
    alike = difflib.get_close_matches(_bare(wanted), [_bare(name) for name in others], 1, _ALIKE)
    return next((name for name in others if alike and _bare(name) == alike[0]), None)


_OF_SLACK = ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "SLACK_API_URL")


def _has_keys(keys: Keys) -> bool:
    """Whether variables of their own may stand for what is below a key."""
    return is_setting((*keys, "name")) or bool(keys_of(keys))


def _bare(name: str) -> str:
    """Write a name without what all have in common and what is most often mistaken: case, how many underscores."""
    bare = re.sub(r"[\W_]+", "_", name.upper(), flags=re.ASCII)
    return re.sub(r"^(SESSIONS?_?BOT|SLACK)_?", "", bare)


def _readable(sources: Sequence[str]) -> Iterable[tuple[str, Keys]]:
    yield from ((name, ()) for name in ENVIRONMENT_ALONE)
    for key in keys_of(()):
        yield f"{PREFIX}{key.upper()}", (key,)
        sections = {"data_sources": sources or ["name"], "channels": ["ID"]}
        for name in sections.get(key, ()):
            yield from _below((key, name))
        yield from _below((key,))


def _below(section: Keys) -> Iterable[tuple[str, Keys]]:
    for key in keys_of(section):
        keys = (*section, key)
        yield PREFIX + "__".join(str(one).upper() for one in keys), keys
