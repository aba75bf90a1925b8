"""Texts as servers give and search them: the bytes that a client sent, in whatever character set (docs 1.5)."""

from __future__ import annotations

from dataclasses import dataclass

_UNREADABLE = "\ufffd"
_INCOMPLETE = ("unexpected end of data", "incomplete multibyte sequence")  # Python's words for a cut letter


def decoded(raw: bytes) -> str:
    """Read a text: as UTF-8, else as GB18030, which GBK is a part of, else with a sign for what is neither.

    A letter that was cut at the end is such a sign as well.

    >>> decoded("密".encode("gbk")), decoded("密é".encode()[:-1]), decoded(b"caf\\xe9 au lait")
    ('密', '密\ufffd', 'caf\ufffd au lait')
    """
    as_utf8, cut = _read(raw, "utf-8")
    # One cut letter alone may as well be a letter of GBK.
    if as_utf8 is not None and not (cut and as_utf8.isascii()):
        return as_utf8 + cut
    as_gb18030, cut = _read(raw, "gb18030")
    return raw.decode("utf-8", "replace") if as_gb18030 is None else as_gb18030 + cut


def _read(raw: bytes, encoding: str) -> tuple[str | None, str]:
    """Return the text, None where it is no such one, and what stands for a letter that was cut at its end."""
    try:
        return raw.decode(encoding), ""
    except UnicodeDecodeError as error:
        if error.reason not in _INCOMPLETE:
            return None, ""
        return raw[: error.start].decode(encoding), _UNREADABLE


def whole_letters(text: str) -> str:
    """Take from a text that was cut, and then read, the half of a letter at its end."""
    return text.removesuffix(_UNREADABLE)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Bytes that are looked for in a text, once its capital ``letters`` were made small."""

    sought: bytes
    letters: str  # capital ones of ASCII; others cannot be a part of what is sought


def patterns(value: str) -> tuple[Pattern, ...]:
    """Return what a text that somebody typed may be in a database, in UTF-8 and in GB18030.

    Servers know the case of no letter in bytes: those of ASCII are found whatever theirs is, others as they were
    typed, in small and in capital ones.

    >>> [(one.sought.hex(" "), one.letters) for one in patterns("Id=密")]
    [('69 64 3d e5 af 86', 'DI'), ('69 64 3d c3 dc', 'DI')]
    """
    found: dict[Pattern, None] = {}
    for text in (value, value.lower(), value.upper(), value.title()):
        small = "".join(letter.lower() if letter.isascii() else letter for letter in text)
        found[Pattern(small.encode("utf-8", "replace"), _capitals(small))] = None
        # Half a letter of GB18030 may be a letter of ASCII: then case is told apart.
        halves = any(letter.encode("gb18030", "replace")[1:].isalpha() for letter in small if not letter.isascii())
        text, letters = (text, "") if halves else (small, _capitals(small))  # noqa: PLW2901
        found[Pattern(text.encode("gb18030", "replace"), letters)] = None
    return tuple(found)


def _capitals(small: str) -> str:
    return "".join(sorted({letter.upper() for letter in small if letter.isascii() and letter.isalpha()}))
