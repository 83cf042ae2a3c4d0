"""A medium of a row as the model's processor gets it: its shape for counting, its content for the batch.

Both go through the same budgets and the same choice of frames, so the ids and the tensors of a row always fit.
Knows nothing of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from tunesmith import log
from tunesmith.chat.message import Media
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, Shape, VideoShape
from tunesmith.data.encoding.video_sounds import SoundedVideo, sound_of
from tunesmith.errors import DataError
from tunesmith.media.audio import num_samples_at, probe_audio, read_audio
from tunesmith.media.budget import apply_budget, budget_size
from tunesmith.media.download import UrlLimits
from tunesmith.media.frame_budget import plan_packed_frames
from tunesmith.media.image import open_image, probe_image
from tunesmith.media.video import plan_frames, probe_video, read_frames
from tunesmith.models.preprocessing.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class Clip:
    """A video: frames (T, 3, H, W) uint8, what they are, and its sound (N,) float32 where that is taken along."""

    frames: torch.Tensor
    shape: VideoShape
    sound: np.ndarray | None = None


Loaded = Image.Image | torch.Tensor | Clip | np.ndarray
"""An image (as a tensor: (3, H, W) uint8), a video, or sound: (N,) float32 samples at the model's rate."""


def probe_shape(media: Media, preprocessor: Preprocessor) -> Shape:
    """What the processor will see of `media`, from its headers. Raises DataError if they cannot be read."""
    preprocessor.require(media.kind)
    if media.kind == "image":
        return _image_shape(media, preprocessor)
    if media.kind == "video":
        return _video_shape(media, preprocessor)
    return AudioShape(_count_samples(media, preprocessor))


def load_medium(media: Media, preprocessor: Preprocessor) -> Loaded:
    """The content of `media`, of a video with its sound where that is taken along.

    Raises DataError if it cannot be read, or the model does not take its kind.
    """
    preprocessor.require(media.kind)
    if media.kind == "image":
        return load_image(media, preprocessor)
    if media.kind == "video":
        clip = load_clip(media, preprocessor)
        if not preprocessor.media.use_audio_in_video:
            return clip
        return replace(clip, shape=_video_shape(media, preprocessor), sound=load_sound(media, preprocessor))
    return load_sound(media, preprocessor)


def load_image(media: Media, preprocessor: Preprocessor) -> Image.Image:
    """The upright RGB image that the processor will see. Raises DataError if it cannot be read."""
    settings = preprocessor.media
    image = open_image(media, limits=_limits(settings))
    if not preprocessor.pre_shrinks_images:
        return image
    return apply_budget(image, min_pixels=settings.image_min_pixels, max_pixels=settings.image_max_pixels)


def load_clip(media: Media, preprocessor: Preprocessor) -> Clip:
    """The chosen frames of a video, without its sound. Raises DataError if they cannot be read."""
    shape = _frames_shape(media, preprocessor)
    size = (shape.width, shape.height)
    frames = read_frames(media, shape.indices, size=size, limits=_limits(preprocessor.media))
    return Clip(torch.from_numpy(frames).permute(0, 3, 1, 2), shape)


def load_sound(media: Media, preprocessor: Preprocessor) -> np.ndarray:
    """(N,) float32, the sound of an audio file or of a video at the model's rate. Raises DataError."""
    return read_audio(sound_of(media), sampling_rate=preprocessor.sampling_rate, limits=_limits(preprocessor.media))


def _image_shape(media: Media, preprocessor: Preprocessor) -> ImageShape:
    settings = preprocessor.media
    size = probe_image(media, limits=_limits(settings))
    if preprocessor.pre_shrinks_images:
        size = budget_size(size, min_pixels=settings.image_min_pixels, max_pixels=settings.image_max_pixels)
    return ImageShape(*size)


def _video_shape(media: Media, preprocessor: Preprocessor) -> VideoShape:
    shape = _frames_shape(media, preprocessor)
    if not preprocessor.media.use_audio_in_video:
        return shape
    preprocessor.require("audio")
    if not isinstance(media, SoundedVideo) and not probe_video(media, limits=_limits(preprocessor.media)).has_audio:
        raise DataError(
            f"{media.name}: the video has no sound; give the row an audio for each of its videos, leave it out, or set "
            "use_audio_in_video: false"
        )
    return replace(shape, num_sound_samples=_count_samples(media, preprocessor))


def _frames_shape(media: Media, preprocessor: Preprocessor) -> VideoShape:
    settings = preprocessor.media
    info = probe_video(media, limits=_limits(settings))
    size = info.size
    if preprocessor.pre_shrinks_videos:
        size = budget_size(size, min_pixels=settings.video_min_pixels, max_pixels=settings.video_max_pixels)
    # a list of frames has no clock: it was sampled as videos are
    fps = info.fps or settings.video_fps
    if preprocessor.packing is None:
        indices = plan_frames(info, fps=settings.video_fps, max_frames=settings.max_frames)
    else:
        indices = plan_packed_frames(info.num_frames, fps, rules=preprocessor.packing)
    return VideoShape(*size, indices, info.num_frames, fps)


def _count_samples(media: Media, preprocessor: Preprocessor) -> int:
    media = sound_of(media)
    rate, limit = preprocessor.sampling_rate, preprocessor.max_audio_samples
    num_samples = num_samples_at(probe_audio(media, limits=_limits(preprocessor.media)), rate)
    if limit is not None and num_samples > limit:
        log.note_once(
            f"the model's own feature extractor cuts sound after {limit / rate:g} s, and {media.name} is longer: cut "
            "long files into several"
        )
    return num_samples


def _limits(settings: MediaSettings) -> UrlLimits:
    return UrlLimits(timeout_s=settings.url_timeout_s, max_bytes=settings.url_max_bytes)
