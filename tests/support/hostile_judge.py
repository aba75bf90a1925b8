"""Shows many hostile texts in every view and counts what came out: `python -m tests.support.hostile_judge 50000`."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field

from bot.slack.delivery.message import Message
from tests.support.harmless import markup_in, refusals_of, refusals_of_view, secrets_in
from tests.support.hostile import Texts
from tests.support.hostile_views import Shown, Views

EXAMPLES = 20  # that are kept


@dataclass(slots=True)
class Counted:
    """What became of texts that were shown; `examples` tells the first few that went wrong."""

    texts: int = 0
    payloads: int = 0
    refused: int = 0
    marked_up: int = 0
    unmasked: int = 0
    examples: list[str] = field(default_factory=list)
    views: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> int:
        """How many payloads did what no text may."""
        return self.refused + self.marked_up + self.unmasked

    def add(self, name: str, shown: Shown | Exception) -> None:
        """Judge one payload, with its fallback and its text."""
        self.payloads += 1
        self.views[name] += 1
        marked: list[str] = []
        unmasked: list[str] = []
        if isinstance(shown, Exception):
            refused = ["".join(traceback.format_exception(shown))[-500:]]
        elif isinstance(shown, Message):
            refused = list(refusals_of(shown))
            parts = [] if refused else [shown.payload(), shown.fallback_payload()]
            marked = [one for part in parts for one in markup_in(part, shown.text)]
            unmasked = list(secrets_in(shown.text, *parts))
        else:
            refused, marked, unmasked = list(refusals_of_view(shown)), list(markup_in(shown)), list(secrets_in(shown))
        self.refused += bool(refused)
        self.marked_up += bool(marked)
        self.unmasked += bool(unmasked)
        told = [f"{name}: {one}"[:600] for one in (*refused, *marked, *unmasked)]
        self.examples += told[: EXAMPLES - len(self.examples)]


def judge(count: int, seed: int) -> Counted:
    """Show at least so many texts in every kind of view; nothing of what is returned may be wrong."""
    texts, counted = Texts(seed), Counted()
    for name, shown in Views(texts, seed).every():
        counted.add(name, shown)
        counted.texts = texts.taken
        if texts.taken >= count:
            return counted
    raise AssertionError("there is always another view")


if __name__ == "__main__":
    result = judge(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(result)  # noqa: T201  # a command line prints
    sys.exit(bool(result.wrong))
