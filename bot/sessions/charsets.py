"""Texts as servers give and search them: the bytes that a client sent, in whatever character set (docs 1.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.sessions.masking import SIGNS_OF_SECRETS

_UNREADABLE = "\ufffd"
_INCOMPLETE = ("unexpected end of data", "incomplete multibyte sequence")  # Python's words for a cut letter


def decoded(raw: bytes) -> str:
    """Read a text: as UTF-8, else as GB18030, which GBK is a part of, else with a sign for what is neither.

    A letter that was cut at the end is such a sign as well.

    >>> decoded("密".encode("gbk")), decoded("密é".encode()[:-1]), decoded(b"caf\\xe9 au lait")
    ('密', '密\ufffd', 'caf\ufffd au lait')
    """
    try:
        return raw.decode()  # nearly always so
    except UnicodeDecodeError:
        return _decoded_otherwise(raw)


def _decoded_otherwise(raw: bytes) -> str:
    as_utf8, cut = _read(raw, "utf-8")
    # One cut letter alone may as well be a letter of GBK.
    if as_utf8 is not None and not (cut and as_utf8.isascii()):
        return as_utf8 + cut
    as_gb18030, cut = _read(raw, "gb18030")
    if as_gb18030 is None or _has_lost_a_sign(raw, as_gb18030):
        return raw.decode("utf-8", "replace")
    return as_gb18030 + cut


def _has_lost_a_sign(raw: bytes, text: str) -> bool:
    """Whether what tells of a secret has become a part of a letter: the p of a password after an é of Latin-1."""
    sent, read = raw.lower(), text.lower()
    return any(sent.count(sign.encode()) > read.count(sign) for sign in SIGNS_OF_SECRETS)


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
class Form:
    """What somebody typed as a database may hold it, in one encoding."""

    run: bytes | None  # the longest part of it without ASCII, as it is; None where there is none
    small: bytes  # all of it, with each capital letter of ASCII made small, be it half of another one


def forms(value: str) -> tuple[Form, Form]:
    """Return what a text that somebody typed may be in a database: in UTF-8 and in GB18030.

    >>> [form.small.hex(" ") for form in forms("Id=密")]
    ['69 64 3d e5 af 86', '69 64 3d c3 dc']
    """
    run = max(re.findall(r"[^\x00-\x7f]+", value), key=len, default=None)
    utf8, gb18030 = (
        Form(None if run is None else run.encode(encoding, "replace"), value.encode(encoding, "replace").lower())
        for encoding in ("utf-8", "gb18030")
    )
    return utf8, gb18030
