"""tar archives laid out like WebDataset: members that share their name up to its first dot are one row.

    0001.json  0001.jpg  0002.json  0002.0.png  0002.1.png

A row holds `__key__`, what its .json object holds, every member's content under its ending (`jpg`, `0.png`, `txt`),
and its media in order under `images`, `videos` and `audios` where .json has no such column. A text value of those
columns that names a member stands for that member's content.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from typing import Any

import numpy as np

from tunesmith.data.store.address import Address
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.json_faults import BEYOND_PYTHON
from tunesmith.data.store.row_file import Addresses, Unreadable
from tunesmith.data.store.tables import row_bytes
from tunesmith.errors import DataError

_ROWS_PER_BLOCK = 256
_HEADERS_AT_ONCE = 1024
_RECORD_BYTES = 512
_WHOLE = "was the file copied or downloaded completely?"
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")
_TEXT_ENDINGS = ("txt", "text", "caption", "cls", "md")
_MEDIA_ENDINGS = {
    "images": ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"),
    "videos": ("mp4", "avi", "mkv", "mov", "webm", "m4v"),
    "audios": ("wav", "mp3", "flac", "ogg", "m4a", "opus"),
}
_COLUMN_OF = {ending: column for column, endings in _MEDIA_ENDINGS.items() for ending in endings}


class TarRows:
    """The rows of the archive `file`."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file

    def counts(self) -> None:
        """Nothing in the file says how many rows it has."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the rows from `start` on. Raises DataError for a broken archive."""
        found: list[Address] = []
        for _, members in groupby(self._walk(0 if start is None else start[0]), key=_key):
            rows = list(members)
            found.append((rows[0].offset, _end(rows[-1])))
            if len(found) == _ROWS_PER_BLOCK:
                yield np.array(found, np.int64)
                found = []
        if found:
            yield np.array(found, np.int64)

    def _walk(self, start: int) -> Iterator[tarfile.TarInfo]:
        """The members that belong to rows, from the header at `start` on."""
        members = self._read_headers(start)
        while members:
            yield from (member for member in members if member.isreg() and _NAME.fullmatch(member.name))
            members = self._read_headers(_end(members[-1]))

    def _read_headers(self, start: int) -> list[tarfile.TarInfo]:
        """The next few members; tarfile, which keeps a record of every member, is opened anew for each few."""
        if start and not self._file.read(start, _RECORD_BYTES).strip(b"\0"):
            return []  # the zeros that end an archive
        try:
            with self._file.path.open("rb") as opened:
                opened.seek(start)
                with tarfile.open(fileobj=opened, mode="r:") as archive:
                    members = list(islice(archive, _HEADERS_AT_ONCE))
        except (tarfile.TarError, OSError) as error:
            raise self._broken(str(error)) from None
        if start and not members:  # tarfile says nothing where an archive ends in the middle of a header
            raise self._broken("unexpected end of data")
        for member in members:
            self._require_whole(member)
        return members

    def _broken(self, reason: str) -> DataError:
        return DataError(f"{self._file.path} is not a sound tar archive ({reason}); {_WHOLE}")

    def _require_whole(self, member: tarfile.TarInfo) -> None:
        if member.offset_data + member.size > self._file.size:
            raise DataError(f"{self._file.path} ends in the middle of {member.name}; {_WHOLE}")

    def read(self, address: Address) -> Any:
        """The row at `address`, Unreadable where a .json or text member cannot be decoded."""
        contents = self._contents(address)
        fields: dict[str, Any] = {"__key__": next(iter(contents)).partition("\0")[0]}
        members = {name.partition("\0")[2]: content for name, content in contents.items()}
        for ending, content in members.items():
            try:
                fields |= _decode(ending, content)
            except BEYOND_PYTHON as error:
                return Unreadable(f"{fields['__key__']}.{ending}: {error}")
        return _with_media(fields, members)

    def _contents(self, address: Address) -> dict[str, bytes]:
        """Key and ending, parted by a zero byte, and content of the members at `address`."""
        start, end = address
        packed = io.BytesIO(self._file.read(start, end - start))
        with tarfile.open(fileobj=packed, mode="r:") as archive:
            return {
                "\0".join(match.groups()): content.read()
                for member in archive
                if (match := _NAME.fullmatch(member.name)) and (content := archive.extractfile(member))
            }

    def raw(self, address: Address) -> bytes:
        """Names and contents of the row's members; owners and dates, which the archive has too, are no content."""
        return row_bytes(self._contents(address))


def _key(member: tarfile.TarInfo) -> str:
    match = _NAME.fullmatch(member.name)
    return match.group(1) if match else ""


def _end(member: tarfile.TarInfo) -> int:
    return member.offset_data + -(-member.size // _RECORD_BYTES) * _RECORD_BYTES


def _decode(ending: str, content: bytes) -> Mapping[str, Any]:
    """The columns that one member gives. Raises ValueError for one that cannot be decoded."""
    last = ending.rpartition(".")[2].lower()
    if last == "json":
        value = json.loads(content.decode("utf-8-sig"))
        return value if ending.lower() == "json" and isinstance(value, dict) else {ending: value}
    return {ending: content.decode("utf-8-sig") if last in _TEXT_ENDINGS else content}


def _with_media(fields: dict[str, Any], members: Mapping[str, bytes]) -> dict[str, Any]:
    found: dict[str, list[bytes]] = {}
    for ending, content in members.items():
        column = _COLUMN_OF.get(ending.rpartition(".")[2].lower())
        if column is not None:
            found.setdefault(column, []).append(content)
    named = {f"{fields['__key__']}.{ending}": content for ending, content in members.items()}
    by_base = {name.rpartition("/")[2]: content for name, content in named.items()} | named
    resolved = {
        column: [by_base.get(item, item) if isinstance(item, str) else item for item in fields[column]]
        for column in _MEDIA_ENDINGS
        if isinstance(fields.get(column), list)
    }
    return {**fields, **found, **resolved}
