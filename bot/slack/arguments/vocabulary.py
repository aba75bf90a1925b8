"""Which keys and flags a command takes, and which of them was meant by a slip."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SAME = {"on": "source"}  # keys that are typed for others, without a note

_SLIP = 3  # letters too many or too few that a slip may have
# Flags that resemble names of tables: rating and booking are no slips of them, waitng is.
_EVERYDAY = {"waiting": 0.9, "blocking": 0.9}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The keys and flags that one command takes, as they may be typed and as they are meant: ``ip`` for ``host``.

    A ``wary`` command asks back where another takes what resembles a flag for a value.
    """

    keys: Mapping[str, str]
    flags: Mapping[str, str]
    wary: bool = False

    @classmethod
    def of(
        cls, keys: Iterable[str], flags: Iterable[str], also: Mapping[str, str] | None = None, *, wary: bool = False
    ) -> Vocabulary:
        """Make one of keys and flags that are typed as they are meant; ``also`` are other words for some of them."""
        others = also or {}
        known, plain = {key: key for key in keys}, {flag: flag for flag in flags}
        return cls(
            known | {typed: meant for typed, meant in others.items() if meant in known},
            plain | {typed: meant for typed, meant in others.items() if meant in plain},
            wary,
        )

    def key(self, typed: str, *, near: bool) -> str | None:
        """Return the key that was meant; ``near`` takes slips as well."""
        typed = SAME.get(typed, typed)
        return self.keys.get(typed) or (self.keys.get(nearest(typed, self.keys) or "") if near else None)

    def flag(self, typed: str, *, near: bool) -> str | None:
        """Return the flag that was meant; ``near`` takes other words for it and slips as well."""
        if not near:
            return typed if self.flags.get(typed) == typed else None
        return self.flags.get(typed) or self.flags.get(resembled(typed, self.flags, 0.7 if self.wary else 0.8) or "")


def resembled(typed: str, flags: Iterable[str], cutoff: float) -> str | None:
    """Return the flag that was probably meant; nothing is taken for “text”, which many databases nearly are called."""
    known = [flag for flag in flags if flag != "text"]
    mixed_up = next((flag for flag in known if sorted(flag) == sorted(typed)), None)
    return mixed_up or nearest(typed, known, cutoff)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the known word that was probably meant; ``cutoff`` is how much both must have in common, 1 is all.

    What is longer by a word of its own is no slip: ``active-onlyidle`` is two.

    >>> nearest("tenat", ("tenant", "time")), nearest("active-onlyidle", ("active-only", "idle"))
    ('tenant', None)
    >>> nearest("waitng", ("waiting",)), nearest("rating", ("waiting",))
    ('waiting', None)
    """
    alike = [one for one in known if abs(len(one) - len(word)) <= _SLIP]
    close = difflib.get_close_matches(word, alike, n=len(alike) or 1, cutoff=cutoff)
    return next((one for one in close if _alike(word, one) >= _EVERYDAY.get(one, cutoff)), None)


def _alike(word: str, known: str) -> float:
    return difflib.SequenceMatcher(None, known, word).ratio()
