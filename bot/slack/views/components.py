"""Pieces that several views are built from."""

from __future__ import annotations

from collections.abc import Sequence

from bot.sessions.masking import cut
from bot.sessions.statement import Disclosure, Statement
from bot.slack.escaping import visible
from bot.slack.session_reference import Asker
from bot.slack.views import blocks as kit
from bot.slack.views import wording

_MAX_TEXT = 3000  # characters of one text element
_CAVEATS, _CAVEAT = 5, 300  # sentences, and characters of each
_NOTES, _NOTE = 8, 200
_FACT = 200


def header(text: str) -> kit.Block:
    """A heading; plain text, cut to Slack's 150 characters."""
    return kit.header(visible(text)[:150])


Line = Sequence[kit.RichText]


def lines(*rows: Sequence[kit.Piece], block_id: str | None = None) -> kit.Block:
    """Lines of rich text: whatever stands in them is literal."""
    pieces: list[kit.Piece] = []
    for number, row in enumerate(rows):
        # Slack refuses an empty text.
        pieces += [*([kit.text("\n")] if number else []), *(one for one in row if one["type"] != "text" or one["text"])]
    return kit.rich_text(pieces or [kit.text(" ")], block_id)


def plain(text: str) -> kit.RichText:
    """Literal text."""
    return kit.text(visible(text))


def bold(text: str) -> kit.RichText:
    """Literal text in bold."""
    return kit.text(visible(text), bold=True)


def code(text: str) -> kit.RichText:
    """Literal text in a code style."""
    return kit.text(visible(text) or " ", code=True)


def facts(pairs: Sequence[tuple[str, str]], most: int = _FACT) -> Line:
    """One line of labels in bold, each with its value of at most so many characters."""
    line: list[kit.RichText] = []
    for number, (label, value) in enumerate(pairs):
        line += [*([plain("  ·  ")] if number else []), bold(label), plain(f" {cut(visible(value), most)}")]
    return line


def preformatted(text: str, *, sql: bool = False, block_id: str | None = None) -> list[kit.Block]:
    """Preformatted text, whole, in as many blocks as Slack's limit per text wants."""
    pieces = _pieces(visible(text, lines=True) or " ")
    return [
        kit.preformatted(piece, sql=sql, block_id=f"{block_id}-{number}" if block_id else None)
        for number, piece in enumerate(pieces)
    ]


def sql(statement: Statement, most: int, disclosure: Disclosure) -> list[kit.Block]:
    """What is shown of a statement, at most so many characters."""
    return preformatted(statement.shown(disclosure, most), sql=True)


def context(*texts: str | kit.PlainText) -> kit.Block:
    """Small print; a text is mrkdwn and must be free of data that is not escaped."""
    return kit.context([kit.mrkdwn(one) if isinstance(one, str) else one for one in texts])


def notes(sentences: Sequence[str]) -> list[Line]:
    """Sentences on how the input was understood, a line each: no more than fit above a list."""
    left = len(sentences) - _NOTES
    shown = [[plain(cut(visible(sentence), _NOTE))] for sentence in sentences[:_NOTES]]
    return [*shown, *([[plain(f"… and {left} more like that.")]] if left > 0 else [])]


def seen_by(asker: Asker | None) -> list[str]:
    """Say for ``context`` whose view a public message shows; nothing for a private one, which is its reader's."""
    return [f"Seen with the rights of {wording.mention(asker.person.id)}"] if asker is not None else []


def caveats(sentences: Sequence[str]) -> list[kit.PlainText]:
    """Sentences on what is not seen, as small print for ``context``: no more than fit beside a list."""
    return [kit.plain_text(f"⚠️ {visible(cut(sentence, _CAVEAT))}") for sentence in sentences[:_CAVEATS]]


def _pieces(text: str) -> list[str]:
    """Cut a long text at line breaks, where that leaves no piece much shorter than it may be."""
    pieces = []
    while len(text) > _MAX_TEXT:
        at = text.rfind("\n", _MAX_TEXT * 3 // 4, _MAX_TEXT) + 1 or _MAX_TEXT
        pieces.append(text[:at].rstrip("\n") or " ")
        text = text[at:]
    return [*pieces, text or " "]
