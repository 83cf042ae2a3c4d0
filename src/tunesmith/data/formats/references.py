"""What a row calls an image, a video or an audio clip, and how it becomes a Media.

Paths, http(s) URLs, `data:` URIs, bare base64, encoded bytes, members of tar archives (`shard.tar::a.jpg`), the objects
of Parquet files (`{bytes, path}`) and OpenAI's parts (`{url}`, `{data, format}`); for a video also the list of its
frames. Knows nothing of messages. Files are only looked up here; URLs and encoded media are opened by `media`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tunesmith.chat.message import Media, MediaKind
from tunesmith.data.formats.layout import Layout
from tunesmith.data.formats.values import as_list, describe
from tunesmith.data.problem import RowError

_INNER_KEYS = ("bytes", "data", "path", "url", "image", "video", "audio")
_AS_IT_STANDS = ("data:", "http://", "https://")
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]+={0,2}\s*")
_MIN_BASE64_CHARS = 64
"""Shorter text is a path: no encoded file is that small."""
_NUM_SHOWN_CHARS = 300
_ARCHIVE_MARK = ".tar::"
_ARTICLE: dict[MediaKind, str] = {"image": "an image", "video": "a video", "audio": "an audio clip"}
_EXPECTED = "expected a path, a URL, a data: URI or bytes"


def read_media(row: Mapping[str, Any], layout: Layout) -> dict[MediaKind, list[Media]]:
    """The row's media by kind, from the columns that the layout names. Raises RowError."""
    columns: dict[MediaKind, str | None] = {
        "image": layout.columns.images,
        "video": layout.columns.videos,
        "audio": layout.columns.audios,
    }
    return {
        kind: [read_medium(kind, value, layout.media_folder) for value in as_list(row.get(column), column)]
        for kind, column in columns.items()
        if column is not None
    }


def read_medium(kind: MediaKind, value: object, folder: Path | None) -> Media:
    """A reference as rows have them; paths are relative to `folder`, else as they stand.

    Raises RowError for a file that does not exist and for anything that is no reference.
    """
    if isinstance(value, list | tuple) and kind == "video":
        return Media(kind, _read_frames(value, folder))
    return Media(kind, _read_source(kind, value, folder))


def _read_frames(frames: list[Any] | tuple[Any, ...], folder: Path | None) -> tuple[str, ...]:
    if not frames:
        raise RowError("wrong type", "a video is an empty list; expected a path or the paths of its frames")
    sources = tuple(_read_source("image", frame, folder) for frame in frames)
    if not all(isinstance(source, str) for source in sources):
        raise RowError("wrong type", "a video's frames are bytes; expected paths, URLs or data: URIs")
    return tuple(source for source in sources if isinstance(source, str))


def _read_source(kind: MediaKind, value: object, folder: Path | None) -> str | bytes:
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, Mapping):
        inner = next((value[key] for key in _INNER_KEYS if value.get(key)), None)
        if isinstance(inner, str | bytes):
            return _read_source(kind, inner, folder)
    if not isinstance(value, str) or not value.strip():
        raise RowError("wrong type", f"{_ARTICLE[kind]} is {describe(value)}; {_EXPECTED}")
    if value.startswith(_AS_IT_STANDS):
        return value
    located = _locate(value, folder)
    if located is not None:
        return located
    if len(value) >= _MIN_BASE64_CHARS and _BASE64.fullmatch(value):
        return f"data:application/octet-stream;base64,{value}"
    raise RowError(f"missing {kind} file", f"{_candidates(value, folder)[0]!s:.{_NUM_SHOWN_CHARS}} does not exist")


def _locate(value: str, folder: Path | None) -> str | None:
    """The path of the file that `value` names, None if there is none."""
    archive, mark, member = value.partition(_ARCHIVE_MARK)
    if mark:
        found = _locate(f"{archive}.tar", folder)
        return f"{found}::{member}" if found else None
    return next((str(candidate) for candidate in _candidates(value, folder) if _is_file(candidate)), None)


def _candidates(value: str, folder: Path | None) -> list[Path]:
    path = unquote(value.removeprefix("file://")) if value.startswith("file://") else value
    return [Path(path)] if folder is None else [folder / path, Path(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # a name too long for a file, or with a zero byte: text that is no path at all
