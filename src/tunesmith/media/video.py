"""Videos: counted without decoding, sampled by seeking; a list of frame images is a video too.

`probe_video` says what is there, `plan_frames` which frames a model gets to see, `read_frames` makes exactly these.
Pixels are upright RGB as FFmpeg converts them: the same call as in transformers' and LLaMA-Factory's PyAV readers,
which do not turn frames upright. The shape of a pixel is not corrected. Knows nothing of rows or processors; never
imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from tunesmith.errors import DataError
from tunesmith.media.container import opened_container, video_stream
from tunesmith.media.download import DEFAULT_LIMITS, UrlLimits
from tunesmith.media.fetch import Content, MediaReference, Reference, find_content
from tunesmith.media.image import Size, open_image, probe_image
from tunesmith.media.player import JumpError, Player
from tunesmith.media.timeline import Timeline, walk_timeline

_REMEMBERED_FILES = 64
"""A timeline has 8 bytes a frame: at most some megabytes in all unless every video is hours long."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video has, known without decoding it.

    num_frames:    frames that are shown
    fps:           frames a second on average; None for a list of frames, which has no clock
    width, height: of the upright picture, in pixels; of the first one for a list of frames
    duration_s:    num_frames / fps; None for a list of frames
    has_audio:     whether the file has a sound track
    """

    num_frames: int
    fps: float | None
    width: int
    height: int
    duration_s: float | None
    has_audio: bool

    @property
    def size(self) -> Size:
        """(width, height) of the upright picture."""
        return self.width, self.height


def probe_video(media: MediaReference, *, limits: UrlLimits = DEFAULT_LIMITS) -> VideoInfo:
    """What the video has, from its packets; one frame is decoded, for its turn. Remembered per file.

    Raises DataError for a missing or damaged file, one that was cut off, or one without video.
    """
    if isinstance(media.source, tuple):
        width, height = probe_image(_frame(media, 0), limits=limits)
        return VideoInfo(len(media.source), None, width, height, None, has_audio=False)
    return _survey(find_content(media, limits=limits), media.name)[0]


def plan_frames(info: VideoInfo, *, fps: float, max_frames: int) -> tuple[int, ...]:
    """The numbers of the frames that a model gets to see, rising.

    `fps` frames for each second, at least one, at most `max_frames`, evenly from the first to the last; a list of
    frames was sampled already and is only thinned out to `max_frames`. This is LLaMA-Factory's rule
    (`mm_plugin._get_video_sample_indices`) and not that of a model's processor, which differs from model to model in
    rounding and limits: `video_fps` and `video_maxlen` mean the same for every model and in old YAMLs.
    """
    num_frames = min(info.num_frames, max_frames)
    if info.duration_s is not None:
        num_frames = min(num_frames, max(1, math.floor(info.duration_s * fps)))
    return tuple(np.linspace(0, info.num_frames - 1, num_frames).astype(np.int32).tolist())


def read_frames(
    media: MediaReference, indices: Sequence[int], *, size: Size | None = None, limits: UrlLimits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """(T, H, W, 3) upright RGB: the frames with these numbers, in this order.

    `size` is the (width, height) that each is brought to as it is decoded, by PIL's bicubic filter as for images, so
    that no more than one frame is held at full size; by default frames keep the video's own size. Raises DataError as
    probe_video does, and for frames that cannot be decoded; IndexError for a number beyond the video.
    """
    info = probe_video(media, limits=limits)
    numbers, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    if len(numbers) == 0 or numbers[0] < 0 or numbers[-1] >= info.num_frames:
        raise IndexError(f"{media.name}: frames {tuple(indices)} of a video with {info.num_frames} frames")
    width, height = size or info.size
    pixels = np.empty((len(numbers), height, width, 3), dtype=np.uint8)
    if isinstance(media.source, tuple):
        for place, number in enumerate(numbers.tolist()):
            pixels[place] = _resized(open_image(_frame(media, number), limits=limits), (width, height))
    else:
        _decode_into(pixels, find_content(media, limits=limits), numbers.tolist(), media.name)
    return pixels if len(places) == len(numbers) and _is_rising(places) else pixels[places]


def _survey(content: Content, name: str) -> tuple[VideoInfo, Timeline]:
    return _survey_bytes(content, name) if isinstance(content, bytes) else _survey_file(content, name)


def _survey_bytes(content: Content, name: str) -> tuple[VideoInfo, Timeline]:
    with opened_container(content, kind="video", name=name) as container:
        stream = video_stream(container, name)
        timeline = walk_timeline(container, stream, name)
        has_audio = bool(container.streams.audio)
    width, height = timeline.decoded_size if timeline.quarters % 2 == 0 else timeline.decoded_size[::-1]
    duration_s = timeline.num_frames / timeline.fps
    return VideoInfo(timeline.num_frames, timeline.fps, width, height, duration_s, has_audio), timeline


_survey_file = lru_cache(maxsize=_REMEMBERED_FILES)(_survey_bytes)


def _decode_into(pixels: NDArray[np.uint8], content: Content, numbers: list[int], name: str) -> None:
    """Fill pixels[i] with frame numbers[i]."""
    _, timeline = _survey(content, name)
    try:
        _play_into(pixels, content, numbers, timeline, name=name, may_jump=True)
    except JumpError:
        _play_into(pixels, content, numbers, timeline, name=name, may_jump=False)


def _play_into(
    pixels: NDArray[np.uint8], content: Content, numbers: list[int], timeline: Timeline, *, name: str, may_jump: bool
) -> None:
    size = (pixels.shape[2], pixels.shape[1])
    with opened_container(content, kind="video", name=name) as container:
        player = Player(container, video_stream(container, name), timeline, wanted=set(numbers), name=name)
        for place, number in enumerate(numbers):
            pixels[place] = _upright(player.show(number, may_jump=may_jump), timeline, size)


def _upright(frame: VideoFrame, timeline: Timeline, size: Size) -> NDArray[np.uint8]:
    """The frame's pixels, turned upright and brought to `size`."""
    width, height = timeline.decoded_size  # a stream may change its size on the way; all its frames get the first's
    # one thread: a scaler with more of them, left behind in a process that forks, would hang the child that frees it
    decoded = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1).astype(np.uint8, copy=False)
    turned = np.rot90(decoded, timeline.quarters) if timeline.quarters else decoded
    return turned if turned.shape[1::-1] == size else _resized(Image.fromarray(turned), size)


def _resized(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    return np.asarray(image if image.size == size else image.resize(size))


def _frame(media: MediaReference, number: int) -> Reference:
    if not isinstance(media.source, tuple) or not media.source:
        raise DataError("a video is given as a list of no frames")
    return Reference(media.source[number], f"{media.source[number]} (frame {number})")


def _is_rising(places: NDArray[np.int64]) -> bool:
    return bool(np.all(np.diff(places) > 0))
