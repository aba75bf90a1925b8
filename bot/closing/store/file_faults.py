"""What goes wrong at a store in a file, as the rest of a sentence that begins with that file."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from bot.errors import StoreAwayError


def failure(why: str) -> StoreAwayError:
    """Make a sentence of the rest of one."""
    return StoreAwayError(f"The store's file {why} Nothing is closed without a record.")


def told(error: sqlite3.Error, file: Path | None) -> str:
    """Say what an error of SQLite's means and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # above stands what SQLite was doing
    known = _BY_CODE.get(code)
    if known is not None:
        return known
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column")):
        return "is not prepared yet, which a bot that runs does within seconds. Try again."
    why = unusable(file) if file is not None else ""
    if code == sqlite3.SQLITE_IOERR and not why:
        return "cannot be read or written: its disk fails. Look into the machine's log."
    return why or f"cannot be used ({getattr(error, 'sqlite_errorname', type(error).__name__)}). Check its disk."


_BUSY = "is being written to by another process, which does not finish. End that one, then try again."
_DAMAGED = (
    "is damaged, or no store. Stop the bot, put the newest backup in its place, or name another file in [store] url."
)
_BY_CODE = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: "cannot grow: its disk is full. Make room there.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


def unusable(file: Path) -> str:
    """Say why this process cannot use a file as its store, or make it; '' where it can."""
    try:
        return _unusable(file)
    except OSError as error:
        return refused(error, file)


def _unusable(file: Path) -> str:
    folder = file.absolute().parent
    if not folder.is_dir():
        return f"cannot be made: there is no folder {folder}. Make it, for the user that the bot runs as."
    there = file.exists()
    if file.is_symlink() and not there:
        return f"cannot be made: {file} is a link that leads nowhere. Remove it, or name another file in [store] url."
    if there and not file.is_file():
        return f"cannot be {file}, which is no file. Name a file in [store] url."
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"cannot be written: {folder} is on a disk that is mounted read-only. Name another place in [store] url."
    # SQLite keeps two more files beside it.
    denied = folder if not os.access(folder, os.W_OK | os.X_OK) else file
    if denied is folder or (there and not os.access(file, os.R_OK | os.W_OK)):
        return _denied(denied)
    return ""


def refused(error: OSError, file: Path) -> str:
    """Say why the system did not let a file be made or looked at."""
    if isinstance(error, PermissionError):
        return _denied(file.absolute().parent)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _BY_CODE[sqlite3.SQLITE_FULL]
    reason = os.strerror(error.errno or 0).lower()
    return f"cannot be made: {reason}. Name another place in [store] url."


def _denied(place: Path) -> str:
    return (
        f"cannot be used: the user that this runs as (uid {os.geteuid()}) may not write to {place}. Give it to that "
        "user with chown, or run the bot as its owner."
    )
