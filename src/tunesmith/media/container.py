"""Video and audio files opened with PyAV: from a file, a stretch of one or bytes, every refusal one DataError.

The only module that calls av.open. Knows nothing of frames or samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from tunesmith.errors import DataError
from tunesmith.media.fetch import Content, FileSpan, open_content

StreamT = TypeVar("StreamT", VideoStream, AudioStream)

_DECODER_THREADS = 1
"""Workers decode many files at once; more threads a file would only get into each other's way."""


@contextmanager
def opened_container(content: Content, *, kind: Literal["video", "audio"], name: str) -> Iterator[InputContainer]:
    """The opened file; what FFmpeg refuses then or while the block reads on raises DataError with `name`."""
    with ExitStack() as files:
        try:
            if isinstance(content, FileSpan) and content.is_whole:
                # absolute: FFmpeg would take the beginning of `clip:1.mp4` for a protocol
                source = str(Path(content.path).absolute())
                yield files.enter_context(av.open(source, "r", metadata_errors="replace"))
            else:
                file = files.enter_context(open_content(content))
                yield files.enter_context(av.open(file, "r", metadata_errors="replace"))
        except DataError:
            raise
        except FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise DataError(f"{name}: damaged, or no {kind} that FFmpeg can decode ({reason})") from None
        except IndexError:  # PyAV's own, for a packet of a stream that the beginning of the file does not announce
            raise DataError(f"{name}: damaged, or its streams change on the way") from None
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The stream that players show (no cover picture), ready to be decoded. Raises DataError."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise DataError(f"{name}: the file has no video")
    return _ready(stream, name)


def sound_track(container: InputContainer, name: str) -> AudioStream:
    """The stream that players play, ready to be decoded. Raises DataError."""
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise DataError(f"{name}: the file has no sound")
    return _ready(stream, name)


def _ready(stream: StreamT, name: str) -> StreamT:
    decoder = stream.codec_context
    if not decoder:  # PyAV's types do not tell that it is None for a codec that FFmpeg does not know
        raise DataError(f"{name}: FFmpeg has no decoder for its codec")
    decoder.thread_count = _DECODER_THREADS
    return stream
