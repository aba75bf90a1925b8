"""What is said of a file that cannot be read: what it is and what to do, in no library's words."""

from __future__ import annotations

import errno
import os
import re

_SECRET = "put the value in a file of that name, as plain text, or remove it"  # noqa: S105  # no secret


class TooLongError(OSError):
    """A file is longer than a secret can be."""


class PipeError(OSError):
    """A file is a named pipe, which can be read once."""


def file(error: OSError | UnicodeDecodeError) -> str:
    """Say why a file of the secrets directory cannot be read.

    >>> file(IsADirectoryError(errno.EISDIR, ""))
    'is a directory; put the value in a file of that name, as plain text, or remove it'
    """
    if isinstance(error, TooLongError):
        return f"is longer than a secret can be; {_SECRET}"
    if isinstance(error, PipeError):
        return f"is a named pipe; {_SECRET}"
    return f"{_why(error)}; {_MAY_READ if _is_forbidden(error) else _SECRET}"


def configuration(error: OSError | UnicodeDecodeError) -> str:
    """Say why the file of the configuration cannot be read.

    >>> configuration(PermissionError(errno.EACCES, "")).partition(", by")[0]
    "may not be read by the bot's user; let the user that the bot runs as read it"
    """
    if isinstance(error, UnicodeDecodeError):
        return f"{_why(error)}; save it as UTF-8"
    return f"{_why(error)}; {_MAY_READ if _is_forbidden(error) else 'set SESSION_BOT_CONFIG to the path of the file'}"


def directory(named: str, error: OSError) -> str:
    """Say why the secrets directory cannot be read; the rest of a sentence that begins with its variable."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"there is no directory {named}; set it to the one that has a file for each secret"
    return f"{named} {_why(error)}; {_MAY_READ if _is_forbidden(error) else 'set it to a directory of files'}"


def _is_forbidden(error: Exception) -> bool:
    return isinstance(error, PermissionError)


_MAY_READ = "let the user that the bot runs as read it, by its owner and mode and those of the directories above"


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is no text in UTF-8"
    known = {
        errno.EACCES: "may not be read by the bot's user",
        errno.EPERM: "may not be read by the bot's user",
        errno.EISDIR: "is a directory",
        errno.ENOENT: "is a link that leads nowhere",
        errno.ELOOP: "is a link that leads back to itself",
        errno.ENAMETOOLONG: "is too long for a path",
        errno.ENOTDIR: "is below something that is no directory",
    }
    return known.get(error.errno or 0) or f"cannot be read ({os.strerror(error.errno or errno.EIO).lower()})"


# By words of the parser's own texts, of which nothing is passed on: they quote what stands there.
_SYNTAX = (
    ("overwrite", "a key or a section stands there for the second time"),
    ("twice", "a key or a section stands there for the second time"),
    ("duplicate", "a key or a section stands there for the second time"),
    ("immutable", "a key or a section stands there for the second time"),
    ("unescaped", r"a text in double quotes has a \ that means nothing; take single quotes, or write it twice"),
    ("illegal character", "a quote is missing at the end of a text, or a character stands there that cannot be seen"),
    ("unterminated", "a quote is missing at the end of a text"),
    ('expected "\'"', "a quote is missing at the end of a text"),
    ("expected '\"", "a quote is missing at the end of a text"),
    ("invalid value", "what stands behind = is no value; a text needs quotes"),
    ("expected '='", "a line is KEY = VALUE, or a header such as [store]"),
    ("invalid statement", "a line is KEY = VALUE, or a header such as [store]"),
    (
        "expected newline or end of document",
        "behind = stands more than one value, a text without quotes, or a quote too many",
    ),
    ("unclosed", "a closing bracket is missing"),
    ("expected ']", "a closing bracket is missing"),
)


def no_toml(error: Exception) -> str:
    """Say where a file is no TOML and what it lacks, and nothing of what stands there: it may be a password.

    Numbers of thousands of digits and brackets within brackets are no error of the parser's own, and have no place.
    """
    text = str(error)
    where = re.search(r"\((at line \d+, column \d+|at end of document)\)$", text)
    lowered = text.lower()
    if where is None:
        return "is no valid TOML: a number is too long, or brackets are too many"
    why = next((why for word, why in _SYNTAX if word in lowered), "correct what stands there")
    return f"is no valid TOML {where[1]}: {why}"
