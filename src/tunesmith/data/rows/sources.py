"""Which files a dataset consists of: one file, a folder of one kind, or shards named by a range.

Knows names, not contents; `store` opens the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunesmith.data.store.kinds import ENDINGS, kind_of, open_row_file
from tunesmith.data.store.row_file import RowFile
from tunesmith.data.store.stamp import content_stamp
from tunesmith.errors import DataError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class RemoteFile(Protocol):
    """A file of a hub."""

    def fetch(self) -> Path:
        """Its copy on this machine, downloaded unless it is there. Raises DataError."""

    def version(self) -> str:
        """What tells it from any other file and from other versions of itself."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a dataset.

    name:      what messages call it
    place:     where it is
    first_row: the number messages give its first row, where several files pass for one
    """

    name: str
    place: Path | RemoteFile
    first_row: int = 0

    def local_path(self) -> Path:
        """Where it stands on this machine; a file of a hub is downloaded first. Raises DataError."""
        return self.place if isinstance(self.place, Path) else self.place.fetch()

    def open(self) -> RowFile:
        """Its rows. Raises DataError for a file that cannot be read."""
        called = self.place.name if isinstance(self.place, Path) else self.name
        return open_row_file(self.local_path(), name=called)

    def version(self) -> str:
        """What tells its content from others: name, size and both ends, or the hub's own version. Raises DataError."""
        if not isinstance(self.place, Path):
            return self.place.version()
        try:
            return content_stamp(self.place)
        except OSError as error:
            raise DataError(f"{self.place} cannot be read ({error})") from None


def list_files(path: Path) -> list[Path]:
    """The data files at `path`: itself, a folder's files of one kind, or the shards `name-{000..012}.tar`.

    Raises DataError.
    """
    if path.is_file():
        if kind_of(path.name) == "":
            raise DataError(f"{path}: files ending in {path.suffix or 'nothing'} are not read; expected {ENDINGS}")
        return [path]
    if path.is_dir():
        return _list_folder(path)
    shards = expand_range(path)
    if not shards:
        raise DataError(f"{path} does not exist")
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise DataError(f"{path}: {len(missing)} of its {len(shards)} files do not exist, the first {missing[0]}")
    return [file for shard in shards for file in list_files(shard)]


def exists(path: Path) -> bool:
    """Whether something stands at `path`; nothing does at a name that is too long for any file."""
    try:
        return path.exists()
    except OSError:
        return False


def expand_range(path: Path) -> list[Path]:
    """The paths that `data-{000..012}.tar` stands for, numbers padded like the first; none for a path without braces.

    Several ranges in one path count like digits, the last one fastest.
    """
    match = _RANGE.search(str(path))
    if match is None:
        return []
    first, last = match.groups()
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    paths = [Path(str(path)[: match.start()] + number + str(path)[match.end() :]) for number in numbers]
    return [inner for path in paths for inner in (expand_range(path) or [path])]


def _list_folder(folder: Path) -> list[Path]:
    files = sorted(
        file for file in folder.iterdir() if file.is_file() and kind_of(file.name) and not file.name.startswith(".")
    )
    if (folder / "state.json").is_file():  # datasets.save_to_disk: the rows are in the Arrow files
        files = [file for file in files if file.suffix == ".arrow"]
    kinds = sorted({kind_of(file.name) for file in files})
    if not files:
        raise DataError(f"the folder {folder} holds no data files; expected {ENDINGS}")
    if len(kinds) > 1:
        raise DataError(f"the folder {folder} mixes {' and '.join(kinds)} files; keep one kind, or name one file")
    return files
