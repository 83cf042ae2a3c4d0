"""A file that is to go with a message: checked at once, and described in a few words.

Knows nothing of models or conversations.
"""

from __future__ import annotations

from pathlib import Path

from tunesmith.chat.message import Media, MediaKind
from tunesmith.errors import UsageError
from tunesmith.media.audio import probe_audio
from tunesmith.media.image import probe_image
from tunesmith.media.video import probe_video


def open_attachment(path: str | Path, kind: MediaKind) -> tuple[Media, str]:
    """The medium in a file, and what it is (`60 x 40`, `2.5 s, 640 x 360`, `2.5 s`). Raises UsageError."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f"{kind} {path}: there is no such file")
    media = Media(kind=kind, source=str(file))
    try:
        return media, _describe(media)
    except ValueError as error:
        raise UsageError(f"{kind} {path} cannot be used: {error}") from error


def _describe(media: Media) -> str:
    if media.kind == "image":
        width, height = probe_image(media)
        return f"{width} x {height}"
    if media.kind == "audio":
        return f"{probe_audio(media).duration_s:.1f} s"
    video = probe_video(media)
    return f"{video.duration_s or 0:.1f} s, {video.width} x {video.height}"
