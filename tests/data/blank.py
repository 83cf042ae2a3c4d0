"""Random shapes of media, noise of those shapes, and plain calls of a processor on it, to compare with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

from tunesmith.data.encoding.loaded_media import Clip
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, Shape, VideoShape

EXTREME_SIZES = [(900, 30), (40, 700), (1, 1), (2000, 1500)]


def random_images(seed: int) -> list[ImageShape]:
    """One to three, extreme ones among them."""
    drawn = random.Random(seed)
    sizes = [(drawn.randint(30, 900), drawn.randint(30, 900)) for _ in range(drawn.randint(1, 3))]
    return [ImageShape(*drawn.choice([size, *EXTREME_SIZES])) for size in sizes]


def random_videos(seed: int) -> list[VideoShape]:
    """One or two of the same number of frames, as some processors need them."""
    drawn = random.Random(seed)
    num_frames = drawn.randint(2, 11)
    return [_random_video(drawn, num_frames) for _ in range(drawn.randint(1, 2))]


def random_sounds(seed: int) -> list[AudioShape]:
    """One or two, from 25 ms to beyond what the tiny models hear."""
    drawn = random.Random(seed)
    return [AudioShape(drawn.randint(400, 110_000)) for _ in range(drawn.randint(1, 2))]


def _random_video(drawn: random.Random, num_frames: int) -> VideoShape:
    stride, fps = drawn.randint(1, 30), drawn.choice([8.0, 23.976, 25.0, 59.94])
    num_file_frames = stride * num_frames + drawn.randint(0, 5)
    indices = tuple(range(0, stride * num_frames, stride))
    return VideoShape(drawn.randint(40, 300), drawn.randint(40, 300), indices, num_file_frames, fps)


def noise(shape: Shape, seed: int = 0) -> Any:
    """A medium of `shape` full of noise."""
    drawn = np.random.default_rng(seed)
    if isinstance(shape, ImageShape):
        return Image.fromarray(drawn.integers(0, 256, (shape.height, shape.width, 3), dtype=np.uint8))
    if isinstance(shape, AudioShape):
        return drawn.standard_normal(shape.num_samples, dtype=np.float32) * np.float32(0.1)
    frames = drawn.integers(0, 256, (shape.num_frames, 3, shape.height, shape.width), dtype=np.uint8)
    sound = None if shape.num_sound_samples is None else noise(AudioShape(shape.num_sound_samples))
    return Clip(torch.from_numpy(frames), shape, sound)


def plain_call(
    processor: Any, texts: Sequence[str], rows: Sequence[Sequence[Any]], **options: Any
) -> dict[str, torch.Tensor]:
    """The processor called by hand on texts and the decoded media of each."""
    clips = [item for row in rows for item in row if isinstance(item, Clip)]
    images = [[item for item in row if isinstance(item, Image.Image)] for row in rows]
    arguments: dict[str, Any] = {
        "images": [row for row in images if row] or None,
        "audio": [sound for row in rows for item in row if (sound := _sound_of(item)) is not None] or None,
    }
    if clips:
        videos = [[item.frames for item in row if isinstance(item, Clip)] for row in rows]
        arguments["videos"] = [row for row in videos if row]
        arguments["videos_kwargs"] = {
            "do_sample_frames": False,
            "fps": clips[0].shape.taken_fps,
            "video_metadata": [
                VideoMetadata(
                    total_num_frames=clip.shape.num_file_frames,
                    fps=clip.shape.file_fps,
                    duration=clip.shape.num_file_frames / clip.shape.file_fps,
                    frames_indices=list(clip.shape.indices),
                )
                for clip in clips
            ],
        }
    if any(clip.sound is not None for clip in clips):
        media = [item for row in rows for item in row if _sound_of(item) is not None]
        arguments["load_audio_from_video"] = True
        arguments["audio_from_video_indices"] = [
            clips.index(item) if isinstance(item, Clip) else None for item in media
        ]
    if arguments["audio"]:
        arguments["audio_kwargs"] = {"sampling_rate": processor.feature_extractor.sampling_rate}
    given = {name: value for name, value in arguments.items() if value is not None}
    return dict(processor(text=list(texts), **given, **{"return_tensors": "pt", **options}))


def _sound_of(item: Any) -> np.ndarray | None:
    return item.sound if isinstance(item, Clip) else item if isinstance(item, np.ndarray) else None
