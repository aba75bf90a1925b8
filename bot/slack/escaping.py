"""Makes text from databases and people harmless to show: it is data, never markup."""

from __future__ import annotations

import unicodedata

# Invisible and direction-changing characters can make one statement look like another.
_DANGEROUS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and signs by their category, and nothing to be seen all the same.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def visible(text: str, *, lines: bool = False) -> str:
    r"""Show control, invisible and direction characters as escapes; with ``lines`` keep line breaks and tabs.

    >>> print(visible("DROP\u202e TABLE\ta"))
    DROP\u202e TABLE a
    """
    if text.isprintable() and (text.isascii() or _BLANK.isdisjoint(text)):  # nearly always so, and 30 times as fast
        return text
    return "".join(_shown(character, lines=lines) for character in text)


def escaped(text: str) -> str:
    """Escape for mrkdwn, where only these three have an escape (docs/slack.md 2.3).

    >>> escaped("<!here> & all")
    '&lt;!here&gt; &amp; all'
    """
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def top_level(text: str) -> str:
    """Escape for the ``text`` of a message, which notifications and screen readers tell: names copy as they are.

    What would become of other signs is switched off where it is sent; only the ``://`` of an address gets a
    look-alike, since response URLs have no switch for links.
    """
    return escaped(text).replace("://", "∶//")


def _shown(character: str, *, lines: bool) -> str:
    if character in "\n\t":
        return character if lines else " "
    if character == "\r":
        return "" if lines else " "
    if unicodedata.category(character) in _DANGEROUS or character in _BLANK:
        return f"\\u{ord(character):04x}"
    return character
