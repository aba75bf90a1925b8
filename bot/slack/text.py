"""Makes text from databases and people harmless to show: it is data, never markup."""

from __future__ import annotations

import unicodedata

# Invisible and direction-changing characters can make one statement look like another.
_DANGEROUS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str, *, lines: bool = False) -> str:
    """Show control, invisible and direction characters as escapes; with ``lines`` keep line breaks and tabs."""
    if text.isprintable():  # has none of those categories; nearly always so, and 30 times as fast
        return text
    return "".join(_shown(character, lines=lines) for character in text)


def escaped(text: str) -> str:
    """Escape for mrkdwn, where only these three have an escape (SLACK.md 2.3)."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unformatted(text: str) -> str:
    """Escape for mrkdwn and take the meaning from its other signs, for texts that cannot be rich text.

    There is no escape for ``* _ ~ ` @``: look-alikes stand in for them.
    """
    return escaped(text).translate(_LOOK_ALIKES)


_LOOK_ALIKES = str.maketrans({"*": "∗", "_": "＿", "~": "∼", "`": "ˋ", "@": "＠"})  # fmt: skip


def _shown(character: str, *, lines: bool) -> str:
    if character in "\n\t":
        return character if lines else " "
    if character == "\r":
        return "" if lines else " "
    if unicodedata.category(character) in _DANGEROUS:
        return f"\\u{ord(character):04x}"
    return character
