"""Reads what a verb takes that has keys of one value each and flags, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Read a normalized text; raises ``InputError`` with the example."""
    values: dict[str, str] = {}
    flags: set[str] = set()
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
            raise InputError(f"“{token.text[:60]}” is not understood here.", spot=token.text, example=example)
    return KeysAndFlags(values, frozenset(flags), tuple(notes))
