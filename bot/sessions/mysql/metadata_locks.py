"""Metadata locks of MySQL and MariaDB: what views tell of them, and which keeps out which.

The tables of what conflicts are those of ``sql/mdl.cc`` of MariaDB 10.11 and MySQL 8.0, which differ in the scoped
locks that MySQL has in place of MariaDB's backup lock. docs/oceanbase.md 8.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bot.sessions.database import Connection
from bot.sessions.model import WaitKind
from bot.sessions.mysql.columns import THREADS

METADATA_LOCKS = "performance_schema.metadata_locks"  # MySQL's and MariaDB's: pending ones as well
METADATA_LOCK_INFO = "information_schema.METADATA_LOCK_INFO"  # of MariaDB's plugin: granted ones alone

TABLE, BACKUP, USER_LOCK = "TABLE", "BACKUP", "USER LEVEL LOCK"
_NAMESPACES = {  # what the plugin calls them, plugin/metadata_lock_info
    "Table metadata lock": TABLE,
    "Schema metadata lock": "SCHEMA",
    "Backup lock": BACKUP,
    "User lock": USER_LOCK,
}

_SR, _SW, _SU = "SHARED_READ", "SHARED_WRITE", "SHARED_UPGRADABLE"
_SRO, _SNW, _SNRW, _X = "SHARED_READ_ONLY", "SHARED_NO_WRITE", "SHARED_NO_READ_WRITE", "EXCLUSIVE"
_SWLP = "SHARED_WRITE_LOW_PRIO"  # MySQL's

# By what is asked for: what keeps it out where that is granted.
_GRANTED = {
    "SHARED": {_X, "INTENTION_EXCLUSIVE"},  # the second of scoped locks alone
    "SHARED_HIGH_PRIO": {_X},
    _SR: {_SNRW, _X},
    _SW: {_SRO, _SNW, _SNRW, _X},
    _SWLP: {_SRO, _SNW, _SNRW, _X},
    _SU: {_SU, _SNW, _SNRW, _X},
    _SRO: {_SW, _SWLP, _SNRW, _X},
    _SNW: {_SW, _SWLP, _SU, _SNW, _SNRW, _X},
    _SNRW: {_SR, _SW, _SWLP, _SU, _SRO, _SNW, _SNRW, _X},
    _X: {"SHARED", "SHARED_HIGH_PRIO", _SR, _SW, _SWLP, _SU, _SRO, _SNW, _SNRW, _X, "INTENTION_EXCLUSIVE"},
    "INTENTION_EXCLUSIVE": {"SHARED", _X},
}
# And where it waits as well, but goes first.
_WAITING = {
    "SHARED": {_X},
    _SR: {_SNRW, _X},
    _SW: {_SNW, _SNRW, _X},
    _SWLP: {_SRO, _SNW, _SNRW, _X},
    _SU: {_X},
    _SRO: {_SW, _SNRW, _X},
    _SNW: {_X},
    _SNRW: {_X},
    "INTENTION_EXCLUSIVE": {"SHARED", _X},
}

# MariaDB's backup lock: FLUSH TABLES WITH READ LOCK and the stages of a backup on one side, what changes something on
# the other. The performance schema goes on calling a lock what it was when it was taken, BACKUP_FTWRL1 or
# BACKUP_BLOCK_DDL: only the plugin tells what it has become.
_FTWRL = {"BACKUP_FTWRL1", "BACKUP_FTWRL2"}
_STAGES = {"BACKUP_FLUSH", "BACKUP_WAIT_FLUSH", "BACKUP_WAIT_DDL", "BACKUP_WAIT_COMMIT"}
_ALL_STAGES = {"BACKUP_START", "BACKUP_BLOCK_DDL"} | _STAGES
_BACKUP = {
    "BACKUP_START": _ALL_STAGES,
    "BACKUP_FLUSH": {"BACKUP_START"},
    "BACKUP_WAIT_FLUSH": {"BACKUP_START", "BACKUP_DML"},
    "BACKUP_WAIT_DDL": {"BACKUP_START", "BACKUP_DML", "BACKUP_DDL"},
    "BACKUP_WAIT_COMMIT": {"BACKUP_START", "BACKUP_DML", "BACKUP_SYS_DML", "BACKUP_DDL", "BACKUP_COMMIT"},
    "BACKUP_FTWRL1": {"BACKUP_DML", "BACKUP_TRANS_DML", "BACKUP_SYS_DML", "BACKUP_DDL", "BACKUP_ALTER_COPY"},
    "BACKUP_DML": _STAGES | _FTWRL,
    "BACKUP_TRANS_DML": _FTWRL,
    "BACKUP_SYS_DML": {"BACKUP_WAIT_COMMIT"} | _FTWRL,
    "BACKUP_DDL": {"BACKUP_WAIT_DDL", "BACKUP_WAIT_COMMIT", "BACKUP_BLOCK_DDL"} | _FTWRL,
    "BACKUP_BLOCK_DDL": _ALL_STAGES | {"BACKUP_DDL"},
    "BACKUP_ALTER_COPY": _FTWRL,
    "BACKUP_COMMIT": {"BACKUP_WAIT_COMMIT", "BACKUP_FTWRL2"},
}
_BACKUP["BACKUP_FTWRL2"] = _BACKUP["BACKUP_FTWRL1"] | {"BACKUP_COMMIT"}
_OF_BACKUPS = _ALL_STAGES | _FTWRL

Key = tuple[str, str, str]  # namespace, database, name


@dataclass(frozen=True, slots=True)
class MetadataLock:
    """A metadata lock that a session has, or waits for."""

    session_id: int
    key: Key
    type: str  # as METADATA_LOCKS names it
    granted: bool

    @property
    def what(self) -> str | None:
        """The table, or the database, as it is shown; the name of a user lock is a literal."""
        namespace, database, name = self.key
        if namespace == "SCHEMA":
            return database or None
        return f"{database}.{name}" if database and name and namespace != USER_LOCK else None

    @property
    def for_all(self) -> bool:
        """Whether it is that of FLUSH TABLES WITH READ LOCK on MariaDB."""
        return self.type in _FTWRL

    @property
    def excludes(self) -> bool:
        """Whether it keeps others out of a table: readers, or whoever changes something."""
        return self.granted and self.key[0] == TABLE and self.type in (_SRO, _SNW, _SNRW, _X)

    def kept_out_by(self, other: MetadataLock) -> bool:
        """Whether another session's lock on the same keeps this one out."""
        if self.key != other.key or self.session_id == other.session_id:
            return False
        if other.granted:
            return other.type in (_BACKUP if self.key[0] == BACKUP else _GRANTED).get(self.type, ())
        if self.key[0] == BACKUP:
            return other.type in _OF_BACKUPS and other.type in _BACKUP.get(self.type, ())
        return other.type in _WAITING.get(self.type, ())

    def may_be_kept_out_by(self, other: MetadataLock) -> bool:
        """Whether a granted lock may have become one that keeps this one out, which its view does not tell."""
        return (
            self.key == other.key
            and self.session_id != other.session_id
            and other.granted
            and (self.type in _OF_BACKUPS) is not (other.type in _OF_BACKUPS)
        )


def read_all(connection: Connection) -> list[MetadataLock]:
    """Read the granted and the pending ones. Raises one of the ``DataSourceError`` family."""
    rows = connection.rows(
        "SELECT PROCESSLIST_ID, OBJECT_TYPE, COALESCE(OBJECT_SCHEMA, ''), COALESCE(OBJECT_NAME, ''), LOCK_TYPE, "
        f"LOCK_STATUS FROM {METADATA_LOCKS} JOIN {THREADS} ON THREAD_ID = OWNER_THREAD_ID "
        "WHERE PROCESSLIST_ID <> connection_id()"
    )
    return [
        MetadataLock(int(session), (str(kind), str(database), str(name)), str(mode), status == "GRANTED")
        for session, kind, database, name, mode, status in rows
        if status in ("GRANTED", "PENDING")
    ]


def read_granted(connection: Connection) -> list[MetadataLock]:
    """Read what MariaDB's plugin tells. Raises one of the ``DataSourceError`` family."""
    rows = connection.rows(
        f"SELECT THREAD_ID, LOCK_TYPE, COALESCE(TABLE_SCHEMA, ''), COALESCE(TABLE_NAME, ''), LOCK_MODE "
        f"FROM {METADATA_LOCK_INFO} WHERE THREAD_ID <> connection_id()"
    )
    return [
        MetadataLock(
            int(session),
            (_NAMESPACES.get(str(kind), str(kind)), str(database), str(name)),
            str(mode).removeprefix("MDL_"),
            True,
        )
        for session, kind, database, name, mode in rows
    ]


def keep_out(pending: MetadataLock, others: Iterable[MetadataLock]) -> list[MetadataLock]:
    """Return the locks that keep a pending one out: granted ones, else those that wait and go first."""
    same = [one for one in others if one.key == pending.key]
    conflicting = [one for one in same if pending.kept_out_by(one)]
    granted = [one for one in conflicting if one.granted]
    if not granted and pending.key[0] == BACKUP:
        granted = [one for one in same if pending.may_be_kept_out_by(one)]
    return granted or conflicting


def kind_of(pending: MetadataLock, holders: Iterable[MetadataLock]) -> WaitKind:
    """Return what is waited for, in one word."""
    namespace = pending.key[0]
    if namespace in (USER_LOCK, "LOCKING SERVICE"):
        return WaitKind.USER_LOCK
    if namespace in ("GLOBAL", "COMMIT") or any(one.for_all for one in (pending, *holders)):
        return WaitKind.GLOBAL_READ_LOCK
    return WaitKind.BACKUP_LOCK if namespace in (BACKUP, "BACKUP LOCK") else WaitKind.METADATA


def pending_of(locks: Iterable[MetadataLock]) -> Iterator[MetadataLock]:
    """Yield those that are waited for."""
    return (one for one in locks if not one.granted)
