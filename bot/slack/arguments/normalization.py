"""Undoes what phones, editors and Slack do to typed text, before it is parsed."""

from __future__ import annotations

import re
import unicodedata

from bot.errors import InputError

MAX_TYPED = 1000  # characters; a longer text is a paste into the wrong window

_FOLD = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‘": "'",
        "’": "'",
        "‚": "'",
        "—": "-",
        "–": "-",
        "‐": "-",
        "‑": "-",
        "−": "-",
        "\u200b": None,
        "\u200c": None,
        "\u200d": None,
        "\ufeff": None,
        "\u2060": None,
    }
)
_LABELLED_LINK = re.compile(r"<(?:https?://|mailto:)[^|>\s]*\|([^>]*)>")
_LINK = re.compile(r"<(?:https?://|mailto:)([^|>\s]*?)/?>")


def normalize(text: str) -> str:
    """Fold look-alikes, unwrap Slack's links and decode its three entities, once.

    docs/slack.md 1.4. Raises ``InputError`` for a text that no command can be.

    >>> normalize("sql=“update stock” time &gt; 5m host=<http://db1.example.com|db1.example.com>")
    'sql="update stock" time > 5m host=db1.example.com'
    """
    _refuse_long(text)
    text = text.encode("utf-8", "replace").decode()  # half a character would fail in the database's driver
    text = _LINK.sub(r"\1", _LABELLED_LINK.sub(r"\1", text))
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, sign)
    # NFKC turns full-width signs and no-break spaces into plain ones.
    text = unicodedata.normalize("NFKC", text.translate(_FOLD)).translate(_FOLD).strip()
    _refuse_long(text)  # once more: NFKC writes some signs out, one of them as eighteen
    return text


def _refuse_long(text: str) -> None:
    if len(text) > MAX_TYPED:
        raise InputError(
            f"That is {len(text):,} characters; a command takes at most {MAX_TYPED:,}. Nothing was done. "
            "Narrow the list by a few words of the SQL only.",
            example="/sessions sql=orders active-only",
        )
