"""Whether a folder may lie on a disk that other hosts write to as well."""

from __future__ import annotations

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OF_ONE_HOST = frozenset(
    "apfs bcachefs btrfs devtmpfs exfat ext2 ext3 ext4 f2fs jfs ntfs3 overlay ramfs reiserfs tmpfs vfat xfs zfs".split()
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def is_shared(folder: Path) -> bool:
    """Whether its file system is none of those that belong to one host; False where that cannot be known."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    kind = kind_of_mount(mounts, folder.resolve())
    return kind is not None and kind not in _OF_ONE_HOST


def kind_of_mount(mounts: str, folder: Path) -> str | None:
    """The file system of an absolute folder by the lines of /proc/PID/mountinfo (proc(5)); the last of a place counts.

    None if no line fits.
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        place, _, system = line.partition(" - ")
        fields, kinds = place.split(), system.split()
        if len(fields) < 5 or not kinds:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        if folder.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), kinds[0]
    return None if found is None else found[1]
