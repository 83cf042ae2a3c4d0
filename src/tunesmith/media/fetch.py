"""Where a medium's bytes are, whatever names it: a path, the bytes themselves, a URL, a member of an archive.

`find_content` turns a reference into a FileSpan (a file on this machine, or a stretch of one) or into bytes; the rest
of `media/` reads nothing else. Bare base64 is never guessed: it looks like a path. Knows nothing of images, video or
audio.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from tunesmith.errors import DataError
from tunesmith.media.archive import find_member, split_member
from tunesmith.media.download import DEFAULT_LIMITS, UrlLimits, download


class MediaReference(Protocol):
    """What a chat.message.Media offers: what it points to, and what messages call it."""

    @property
    def source(self) -> str | bytes | tuple[str, ...]: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Reference:
    """One source with its name, where no Media is at hand: a frame of a video given as images."""

    source: str
    name: str


@dataclass(frozen=True, slots=True)
class FileSpan:
    """`num_bytes` of a local file from byte `start`; `is_whole` if that is all of it.

    Changes with the file (modified_ns), so what is remembered per span is never stale.
    """

    path: str
    start: int
    num_bytes: int
    modified_ns: int
    is_whole: bool


Content = FileSpan | bytes


def find_content(media: MediaReference, *, limits: UrlLimits = DEFAULT_LIMITS) -> Content:
    """The local content of `media`; a URL is downloaded unless it was before.

    Raises DataError, naming the medium, for what is missing, malformed, beyond `limits`, or a list of frames.
    """
    source = media.source
    if isinstance(source, bytes):
        return source
    if isinstance(source, tuple):
        raise DataError(f"{media.name}: a list of frames is a video; expected one file")
    if source.startswith("data:"):
        return _decode_data_uri(source, media.name)
    parts = split_member(source)
    if parts is None:
        return _whole_file(_local_path(source, limits), media.name)
    archive = _whole_file(_local_path(parts.archive, limits), media.name)
    member = find_member(archive.path, parts.member, modified_ns=archive.modified_ns, num_bytes=archive.num_bytes)
    return FileSpan(archive.path, member.start, member.num_bytes, archive.modified_ns, is_whole=False)


def open_content(content: Content) -> BinaryIO:
    """A seekable binary file of exactly this content, at its start. Raises OSError."""
    if isinstance(content, bytes):
        return io.BytesIO(content)
    if content.is_whole:
        return open(content.path, "rb")  # noqa: PTH123 - the caller closes it
    return io.BufferedReader(_Stretch(content))


def _local_path(source: str, limits: UrlLimits) -> str:
    if source.startswith(("http://", "https://")):
        return str(download(source, limits=limits))
    if source.startswith("file://"):
        return unquote(urlsplit(source).path)
    return source


def _whole_file(path: str, name: str) -> FileSpan:
    try:
        state = os.stat(path)  # noqa: PTH116 - five times as fast as Path.stat, and once for every medium
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a null byte in the path
        raise DataError(f"{name!r}: cannot be read ({error})") from None
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{name}: cannot be read (not a file)")
    return FileSpan(path, 0, state.st_size, state.st_mtime_ns, is_whole=True)


def _decode_data_uri(uri: str, name: str) -> bytes:
    head, _, body = uri.partition(",")
    if not head.endswith(";base64"):
        raise DataError(f"{name}: not base64; expected data:image/png;base64,…")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{name}: broken base64 ({error})") from None


class _Stretch(io.RawIOBase):
    """A stretch of a file as a file of its own."""

    def __init__(self, span: FileSpan) -> None:
        super().__init__()
        self._file = open(span.path, "rb", buffering=0)  # noqa: PTH123, SIM115 - closed by close
        self._span = span
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._span.num_bytes}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        num_left = max(0, self._span.num_bytes - self._position)
        self._file.seek(self._span.start + self._position)
        num_read = self._file.readinto(memoryview(buffer)[:num_left])
        self._position += num_read
        return num_read

    def close(self) -> None:
        self._file.close()
        super().close()
