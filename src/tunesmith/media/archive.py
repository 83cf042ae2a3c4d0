"""`ARCHIVE.tar::MEMBER`: where a member's bytes lie in an uncompressed tar, found without unpacking.

A tar has no table of contents, so the headers are walked once per process and archive (a seek per member, contents
are not read); 24 bytes a member are remembered. Links and sparse members count as absent.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import DataError

SEPARATOR = "::"
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip")
_REMEMBERED_ARCHIVES = 1024


class MemberName(NamedTuple):
    """The two halves of `ARCHIVE.tar::MEMBER`."""

    archive: str
    member: str


class Stretch(NamedTuple):
    """Where the contents of a member lie in its archive, in bytes."""

    start: int
    num_bytes: int


def split_member(source: str) -> MemberName | None:
    """The archive and the member that `source` names, or None if it is no `ARCHIVE.tar::MEMBER`.

    Raises DataError for a compressed archive: nothing in it can be reached without unpacking all before it.
    """
    archive, separator, member = source.partition(SEPARATOR)
    if not separator:
        return None
    if archive.endswith(_PACKED):
        raise DataError(
            f"{source}: a compressed archive cannot be read member by member; repack {archive} as an uncompressed .tar "
            "(images, video and audio are compressed already)"
        )
    return MemberName(archive, member) if archive.endswith(".tar") and member else None


def find_member(archive: str, member: str, *, modified_ns: int, num_bytes: int) -> Stretch:
    """Where `member` lies in the local file `archive`; a name that stands there twice means the last, as for tar.

    `modified_ns` and `num_bytes` are the archive's: a changed archive is walked again. Raises DataError.
    """
    index = _index(archive, modified_ns, num_bytes)
    key = hash(_plain(member))
    place = int(np.searchsorted(index.keys, key, side="right")) - 1
    if place < 0 or index.keys[place] != key:
        raise DataError(f"{archive}{SEPARATOR}{member}: the archive has no such file ({len(index.keys)} members)")
    return Stretch(int(index.starts[place]), int(index.sizes[place]))


@dataclass(frozen=True, slots=True)
class _Index:
    """Members sorted by the hash of their name; equal names in the archive's order."""

    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


@lru_cache(maxsize=_REMEMBERED_ARCHIVES)
def _index(archive: str, _modified_ns: int, _num_bytes: int) -> _Index:
    try:
        rows = np.array(_walk(archive), dtype=np.int64).reshape(-1, 3)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise DataError(f"{archive}: not a readable tar archive ({error})") from None
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return _Index(keys=rows[:, 0].copy(), starts=rows[:, 1].copy(), sizes=rows[:, 2].copy())


def _walk(archive: str) -> list[tuple[int, int, int]]:
    found = []
    with tarfile.open(archive, "r:") as file:
        while (member := file.next()) is not None:
            if member.isreg() and not member.issparse():
                found.append((hash(_plain(member.name)), member.offset_data, member.size))
            file.members = []  # type: ignore[attr-defined] # tarfile would keep every header it has seen
    return found


def _plain(member: str) -> str:
    """`tar -C folder .` writes ./name for name."""
    return member.removeprefix("./")
