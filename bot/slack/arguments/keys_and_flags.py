"""Reads what a verb takes that has keys of one value each and flags, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import InputError
from bot.sessions.model import Operator
from bot.slack.arguments.tokens import KeyToken, known_key, slips, tokenize
from bot.slack.arguments.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class KeysAndFlags:
    """What was typed; ``notes`` are sentences on what had to be corrected."""

    values: Mapping[str, str]
    flags: frozenset[str]
    notes: tuple[str, ...]


def read(text: str, vocabulary: Vocabulary, example: str) -> KeysAndFlags:
    """Read a normalized text; raises ``InputError`` with the example.

    Words that are neither key nor flag are told together, and beside them the keys that were mistyped.
    """
    values: dict[str, str] = {}
    flags: set[str] = set()
    unknown: list[str] = []
    tokens = tokenize(text, vocabulary)
    notes = slips(tokens)
    for token in tokens:
        if isinstance(token, KeyToken):
            key = known_key(token, vocabulary.keys, notes, example)
            if key in values or token.operator is not Operator.CONTAINS or len(token.values) != 1:
                raise InputError(f"{key} takes one value after =, once.", spot=token.text, example=example)
            values[key] = token.values[0]
        elif token.word in vocabulary.flags:
            flags.add(token.word)
        else:
            unknown.append(token.text)
    if unknown:
        words = _listed([f"“{text[:60]}”" for text in unknown])
        said = f"{words} {'is' if len(unknown) == 1 else 'are'} not understood here."
        raise InputError(" ".join((said, *notes)), spot=unknown[0], example=example)
    return KeysAndFlags(values, frozenset(flags), tuple(notes))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
