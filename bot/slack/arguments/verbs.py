"""Which verb was meant by a slip of it, where a word that is no verb is looked for in a list."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bot.slack.arguments.session_query import VOCABULARY
from bot.slack.arguments.vocabulary import resembled

# How much a word and a verb have in common, 1 is all.
_SURE = 0.9
_PERHAPS = 0.8


@dataclass(frozen=True, slots=True)
class Meant:
    """What was typed, with the verb that was meant.

    ``corrected`` says that it was put right; ``question`` asks, since it may be a word to search for. '' for neither.
    """

    text: str
    corrected: str = ""
    question: str = ""


def meant(text: str, verbs: Collection[str]) -> Meant:
    """Read a normalized text whose first word may be a slip of a verb; in quotes it is none.

    >>> meant("triag tenant=shop", ["triage"])
    Meant(text='triage tenant=shop', corrected='“triag” was read as triage. In quotes it is searched for.', question='')
    >>> meant("block", ["locks"]).question, meant("shop", ["show"]).question
    ('Did you mean /sessions locks?', '')
    """
    first, _, rest = text.partition(" ")
    typed = first.lower()
    if typed in verbs or typed in VOCABULARY.flags or not typed.isalpha():
        return Meant(text)
    verb = resembled(typed, verbs, _PERHAPS)
    if verb is None:
        return Meant(text)
    read = f"{verb} {rest}".strip()
    if typed in VOCABULARY.keys or resembled(typed, verbs, _SURE) is None:
        return Meant(text, question=f"Did you mean /sessions {read}?")
    return Meant(read, corrected=f"“{first}” was read as {verb}. In quotes it is searched for.")
