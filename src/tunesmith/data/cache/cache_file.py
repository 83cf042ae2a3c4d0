"""One SQLite file of key → value, shared by any number of processes, that never stands in the way.

Whatever goes wrong with it (a lock that does not come, a full disk, a damaged file, a read-only folder) is said once,
and work goes on without: a read finds nothing, a write is dropped. A writer that is killed leaves nothing half done,
since the next reader rolls its transaction back. Knows nothing of what the values mean.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tunesmith import log

SUFFIX = ".sqlite"
MAX_BYTES = 10 * 10**9
"""What all files of one folder may take together."""

_KEYS_PER_QUERY = 500
_WAIT_S = 10.0
_CRC_BYTES = 4
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""SQLITE_ERROR is a sound database with other tables in it."""

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, written_ns INTEGER NOT NULL, value BLOB NOT NULL)"
_KEEP = (
    "INSERT INTO rows VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET written_ns = excluded.written_ns, value = excluded.value"
)

_Answer = TypeVar("_Answer")
_Identity = tuple[int, int]

_lock = threading.RLock()
"""Held while SQLite works: one use at a time in a process, and none while it forks."""


class CacheFile:
    """The file at `path`, made with its folder when it is first needed. For any thread, and for forked processes.

    max_bytes: what `path`'s folder may hold; beyond that nothing more is written
    since_ns:  entries written before this time are as if they were not there
    name:      what messages call it
    """

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_BYTES, since_ns: int = 0, name: str = "encoding cache"
    ) -> None:
        self.path = path
        self._name = name
        self._max_bytes = max_bytes
        self._since_ns = since_ns
        self._connection: sqlite3.Connection | None = None
        self._identity: _Identity | None = None
        self._was_damaged = False
        self._reads = True
        self._writes = True
        _files.add(self)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those of `keys` that are there."""

        def select(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            return dict(_select(connection, keys, since_ns=self._since_ns))

        return (self._attempt(select) if self._reads else None) or {}

    def keep(self, values: Mapping[bytes, bytes]) -> None:
        """Write `values`, all of them or none."""
        if self._reads and self._writes and values and self._has_room(values):
            self._attempt(lambda connection: _insert(connection, values), writes=True)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with _lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _attempt(self, action: Callable[[sqlite3.Connection], _Answer], *, writes: bool = False) -> _Answer | None:
        with _lock:
            try:
                return action(self._connected())
            except (sqlite3.Error, OSError) as error:
                with suppress(sqlite3.Error):
                    self.close()
                self._learn_from(error, writes=writes)
        return None

    def _connected(self) -> sqlite3.Connection:
        # A file that was deleted must not be used any longer: its journal has the name of the new file's journal.
        if self._connection is not None and _identity_of(self.path) != self._identity:
            self.close()
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(self.path)
            self._identity = _identity_of(self.path)
        return self._connection

    def _learn_from(self, error: sqlite3.Error | OSError, *, writes: bool) -> None:
        """Do without what failed. A damaged file is deleted, once; its successor may serve."""
        code = vars(error).get("sqlite_errorcode", 0) & 0xFF  # absent where Python itself raised
        if code in _DAMAGED and not self._was_damaged:
            self._was_damaged = True
            log.note_once(f"the {self._name} {self.path} is damaged ({error}); it is deleted and made anew")
            if _identity_of(self.path) == self._identity or self._identity is None:
                delete(self.path)
        elif writes:
            self._writes = False
            log.note_once(f"the {self._name} {self.path} cannot be written ({error}); no more rows are kept in it")
        else:
            self._reads = False
            log.note_once(f"the {self._name} {self.path} cannot be read ({error}); the run goes on without it")

    def _has_room(self, values: Mapping[bytes, bytes]) -> bool:
        taken = sum(_sizes(self.path.parent)) + sum(map(len, values.values()))
        if taken > self._max_bytes:
            self._writes = False
            log.note_once(
                f"the caches in {self.path.parent} take {self._max_bytes / 1e9:g} GB; no more rows are kept. "
                "`tunesmith data cache` shows and clears them"
            )
        return self._writes


_files: weakref.WeakSet[CacheFile] = weakref.WeakSet()


def delete(path: Path) -> None:
    """Remove the file at `path` and its journal, whatever they hold; processes that use it begin a new one."""
    for name in (path, path.with_name(f"{path.name}-journal")):
        with suppress(OSError):
            name.unlink()


def count_rows(path: Path) -> int | None:
    """How many entries the file at `path` has; None if that cannot be told."""
    with _lock:
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)
            try:
                return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM rows").fetchone()[0])
            finally:
                connection.close()
        except sqlite3.Error:
            return None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        # Nothing is lost that could not be made again, so no write waits for the disk. A kept journal instead of the
        # quicker write-ahead log, which network file systems cannot share.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute(_TABLE)
    except sqlite3.Error:
        connection.close()
        raise
    with suppress(OSError):
        os.utime(path)  # when it was used last
    return connection


def _select(connection: sqlite3.Connection, keys: Sequence[bytes], *, since_ns: int) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(part))
        query = f"SELECT key, value FROM rows WHERE key IN ({marks}) AND written_ns >= ?"
        for key, sealed in connection.execute(query, (*part, since_ns)):
            if sealed[:_CRC_BYTES] == _seal(key, sealed[_CRC_BYTES:]):
                yield key, sealed[_CRC_BYTES:]


def _insert(connection: sqlite3.Connection, values: Mapping[bytes, bytes]) -> None:
    now = time.time_ns()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(_KEEP, ((key, now, _seal(key, value) + value) for key, value in values.items()))
        connection.execute("COMMIT")
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _seal(key: bytes, value: bytes) -> bytes:
    """What tells a sound entry from one that a damaged file gives for the key."""
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(_CRC_BYTES, "little")


def _identity_of(path: Path) -> _Identity | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _sizes(folder: Path) -> Iterator[int]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.stat().st_size


def _close_all() -> None:
    """Before a fork: a connection that crosses one breaks SQLite's locks (sqlite.org/howtocorrupt.html, 2.6)."""
    _lock.acquire()
    for file in _files:
        file.close()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(before=_close_all, after_in_parent=_lock.release, after_in_child=_lock.release)
