"""Everything kept in the cache folder: what it is, how large it is, and how to be rid of it.

All of it is made again when it is needed. Folders of another kind are neither counted nor touched. Knows nothing of
what the files hold.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import env
from tunesmith.data.cache.encodings import clear_caches, list_caches
from tunesmith.errors import UsageError

_PURPOSES = {
    "encodings": "encoded rows",
    "rows": "where the rows of large files begin",
    "unpacked": "data files unpacked from .gz",
    "hub": "rows of hub datasets",
    "downloads": "media downloaded from URLs",
    "references": "log-probabilities by models that others are compared with",
}


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """One kind of cache. `num_rows` is known for encoded rows only."""

    name: str
    purpose: str
    path: Path
    num_files: int
    num_bytes: int
    num_rows: int | None = None


def list_cache_folders(names: Sequence[str] = ()) -> list[CacheFolder]:
    """The caches named, or all. Raises UsageError for a name that is none."""
    unknown = [name for name in names if name not in _PURPOSES]
    if unknown:
        raise UsageError(f"there is no cache {unknown[0]!r}; name one of {', '.join(_PURPOSES)}")
    return [_measure(name) for name in names or _PURPOSES]


def clear_cache_folders(names: Sequence[str] = ()) -> list[CacheFolder]:
    """Delete the caches named, or all; returns them as they were. A run that uses one makes it anew."""
    folders = list_cache_folders(names)
    for folder in folders:
        if folder.name == "encodings":
            clear_caches()
        elif folder.path.is_dir():
            shutil.rmtree(folder.path, ignore_errors=True)  # another process may write there at this moment
    return folders


def _measure(name: str) -> CacheFolder:
    path = env.cache_folder() / name
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    num_rows = sum(info.num_rows or 0 for info in list_caches()) if name == "encodings" else None
    return CacheFolder(name, _PURPOSES[name], path, len(sizes), sum(sizes), num_rows)
