"""Whether the files of a row's media are still those they were: sizes and times of change, nothing of their content.

Looking at a medium also brings it here: one that is given by URL is downloaded, within the limits of the settings.
Knows no pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.chat.message import Conversation, Media
from tunesmith.data.encoding.encoded import RowMedia
from tunesmith.errors import DataError
from tunesmith.media.download import UrlLimits
from tunesmith.media.fetch import FileSpan, Reference, find_content

Stamp = tuple[int, int, int]
"""First byte, number of bytes, and time of change in ns of a file, or of a stretch in an archive."""


@dataclass(frozen=True, slots=True)
class StampedMedia:
    """A medium of a row and the stamps of its files: none where it stands in the row, one for each frame of a list."""

    media: Media | RowMedia
    stamps: tuple[Stamp, ...]

    def is_current(self, limits: UrlLimits) -> bool:
        """Whether every file is there, unchanged."""
        if isinstance(self.media, RowMedia):
            return True
        try:
            return stamps_of(self.media, limits) == self.stamps
        except DataError:
            return False


def light_media(conversation: Conversation) -> tuple[Media | RowMedia, ...]:
    """The media of a row in order, those that stand in it as their numbers."""
    return tuple(
        RowMedia(media.kind, number) if _stands_in_row(media) else media
        for number, media in enumerate(conversation.media())
    )


def stamps_of(media: Media, limits: UrlLimits) -> tuple[Stamp, ...]:
    """The stamps of the files of `media` as they are now. Raises DataError for one that is not there."""
    if not isinstance(media.source, tuple):
        return _stamp(media, limits)
    return tuple(stamp for frame in media.source for stamp in _stamp(Reference(frame, frame), limits))


def _stands_in_row(media: Media) -> bool:
    return isinstance(media.source, bytes) or (isinstance(media.source, str) and media.source.startswith("data:"))


def _stamp(media: Media | Reference, limits: UrlLimits) -> tuple[Stamp, ...]:
    content = find_content(media, limits=limits)
    return ((content.start, content.num_bytes, content.modified_ns),) if isinstance(content, FileSpan) else ()
