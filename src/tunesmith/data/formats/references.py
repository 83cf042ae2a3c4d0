"""What a row calls an image: a path, a data URL, encoded bytes; and how it becomes a Media.

Knows nothing of messages. Files are only looked up here, not opened.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tunesmith.chat.message import Media, MediaKind
from tunesmith.data.formats.layout import Layout
from tunesmith.data.formats.values import as_list, describe
from tunesmith.data.problem import RowError
from tunesmith.errors import NotSupportedYetError


def read_media(row: Mapping[str, Any], layout: Layout) -> dict[MediaKind, list[Media]]:
    """The row's media, from the columns that the layout names.

    Raises RowError for a missing file; NotSupportedYetError for a row that has videos or audio clips.
    """
    columns = layout.columns
    for kind, column in (("video", columns.videos), ("audio", columns.audios)):
        if column is not None and as_list(row.get(column), column):
            refuse_kind(kind)
    images = as_list(row.get(columns.images), columns.images) if columns.images is not None else []
    return {"image": [read_image(value, layout.media_folder) for value in images]}


def refuse_kind(kind: str) -> None:
    """Raise NotSupportedYetError for a video or an audio clip."""
    raise NotSupportedYetError(
        f"the row has {'a video' if kind == 'video' else 'an audio clip'}; training on video and audio comes with a "
        "later version. Take the dataset out of `dataset`, or train on its text and images alone"
    )


def read_image(value: object, folder: Path | None) -> Media:
    """An image reference as rows have them: a path (relative to `folder`, else as it stands), a data URL, bytes,
    or an object with `bytes`, `path` or `url`, as Parquet files of the hub have it."""
    if isinstance(value, bytes):
        return Media("image", value)
    if isinstance(value, Mapping):
        inner = next((value[key] for key in ("bytes", "path", "url", "image") if value.get(key)), None)
        if isinstance(inner, str | bytes):
            return read_image(inner, folder)
    if not isinstance(value, str) or not value.strip():
        raise RowError("wrong type", f"an image is {describe(value)}; expected a path, a data URL or bytes")
    if value.startswith("data:"):
        return Media("image", _decode_data_url(value))
    if value.startswith(("http://", "https://")):
        raise RowError("image not local", f"{value} is not fetched; download it and give its path")
    return Media("image", _locate(value, folder))


def _decode_data_url(url: str) -> bytes:
    head, _, body = url.partition(",")
    if not head.endswith(";base64"):
        raise RowError("broken data URL", f"{url[:40]}… is not base64; expected data:image/png;base64,…")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise RowError("broken data URL", f"{url[:40]}…: {error}") from None


def _locate(value: str, folder: Path | None) -> str:
    path = unquote(value.removeprefix("file://")) if value.startswith("file://") else value
    candidates = [Path(path)] if folder is None else [folder / path, Path(path)]
    for candidate in candidates:
        if _is_file(candidate):
            return str(candidate)
    shown = str(candidates[0])
    raise RowError("missing image file", f"{shown if len(shown) < 300 else shown[:300] + '…'} does not exist")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # a name too long for a file: text that is no path at all
