"""The encoding cache: rows that were encoded before, found again by their content.

One file for each way of encoding (`encoder_key`) in the cache folder, one entry for each row content, so the same row
in another file or another run is found too. Never stale: whatever the ids depend on is part of a key, but for the files
of media, whose stamps are kept with an entry for `examples` to look at. Knows no datasets and no order.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import env
from tunesmith.chat.message import RowSource
from tunesmith.config.data import DataSettings
from tunesmith.data.cache.cache_file import SUFFIX, CacheFile, count_rows, delete
from tunesmith.data.cache.cached_example import CachedExample, pack_example, unpack_example
from tunesmith.data.encoding.encode import Encoder
from tunesmith.data.store.address import RowRef
from tunesmith.errors import UsageError

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class CachedRow:
    """A row to look for: the key of its content, and where it stands."""

    key: bytes
    ref: RowRef
    source: RowSource


class EncodingCache:
    """The examples that one way of encoding gave. For any thread, and for forked processes; it never raises."""

    def __init__(self, file: CacheFile) -> None:
        self._file = file

    def find(self, rows: Sequence[CachedRow]) -> dict[RowRef, CachedExample]:
        """Those of `rows` that are there; whether their media are unchanged is to be looked at."""
        values = self._file.find(list(dict.fromkeys(row.key for row in rows)))
        return {
            row.ref: unpack_example(values[row.key], ref=row.ref, source=row.source)
            for row in rows
            if row.key in values
        }

    def keep(self, examples: Mapping[bytes, CachedExample]) -> None:
        """Write `examples` under the keys of their rows, in one transaction."""
        self._file.keep({key: pack_example(example) for key, example in examples.items()})


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """One file of the cache. `num_rows` is None for a file that cannot be read; `used_s` is a time since the epoch."""

    path: Path
    num_bytes: int
    num_rows: int | None
    used_s: float

    @property
    def name(self) -> str:
        """What `clear_caches` takes: the key of its way of encoding."""
        return self.path.stem


def open_cache(encoder: Encoder, data: DataSettings) -> EncodingCache | None:
    """The cache of what `encoder` encodes; None with `encoding_cache: false`, which touches no file.

    With `overwrite_cache` only what is encoded from now on is found in it.
    """
    if not data.encoding_cache:
        return None
    since_ns = time.time_ns() if data.overwrite_cache else 0
    return EncodingCache(CacheFile(_folder() / f"{encoder.key}{SUFFIX}", since_ns=since_ns))


def row_key(raw: bytes, layout_key: str) -> bytes:
    """The name of a row's content: `raw` is the row itself, `layout_key` what makes a conversation of it."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    layout = layout_key.encode()
    digest.update(len(layout).to_bytes(8, "little") + layout)
    digest.update(raw)
    return digest.digest()


def list_caches() -> list[CacheInfo]:
    """Every cache of encoded rows, the one used last first."""
    infos = []
    for path in _folder().glob(f"*{SUFFIX}"):
        state = path.stat()
        infos.append(CacheInfo(path, state.st_size, count_rows(path), state.st_mtime))
    return sorted(infos, key=lambda info: -info.used_s)


def clear_caches(name: str | None = None) -> list[CacheInfo]:
    """Delete the cache `name` (or the beginning of its name), or all; returns what is gone.

    A run that uses one begins it anew. Raises UsageError for a name that fits no cache or several.
    """
    caches = list_caches()
    chosen = caches if name is None else [info for info in caches if info.name.startswith(name)]
    if name is not None and len(chosen) != 1:
        known = ", ".join(info.name for info in caches) or "there are none"
        raise UsageError(f"{name!r} names {len(chosen)} encoding caches; name one of: {known}")
    for info in chosen:
        delete(info.path)
    return chosen


def _folder() -> Path:
    return env.cache_folder() / "encodings"
