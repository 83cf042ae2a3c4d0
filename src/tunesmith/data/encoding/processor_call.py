"""One way to call a model's own processor on decoded media, whatever their kinds.

Frames are handed over as they are, with the times they were taken at, so that the processor neither samples again nor
guesses a frame rate. Knows nothing of rows or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.video_utils import VideoMetadata

from tunesmith.data.encoding.loaded_media import Clip, Loaded
from tunesmith.data.encoding.media_shape import VideoShape
from tunesmith.models.preprocessing.processor import Preprocessor


def call_processor(
    preprocessor: Preprocessor, *, texts: Sequence[str], rows: Sequence[Sequence[Loaded]], **options: Any
) -> BatchFeature:
    """What the model's processor makes of `texts`, whose placeholders stand for the media of `rows`, in order.

    `options` are the processor's own, such as return_tensors. Raises ValueError where it refuses the media.
    """
    processor: Any = preprocessor.processor
    arguments: dict[str, Any] = {"text": list(texts), **options}
    images = [[item for item in row if isinstance(item, (Image.Image, torch.Tensor))] for row in rows]
    videos = [[item for item in row if isinstance(item, Clip)] for row in rows]
    clips = [clip for row in videos for clip in row]
    sounds = _sounds(rows)
    if any(images):
        arguments["images"] = [row for row in images if row]
    if clips:
        arguments["videos"] = [[clip.frames for clip in row] for row in videos if row]
        arguments["videos_kwargs"] = _video_options(clips, preprocessor)
    if sounds:
        arguments |= {"audio": sounds, "audio_kwargs": {"sampling_rate": preprocessor.sampling_rate}}
    if any(clip.sound is not None for clip in clips):
        _name_sounds_of_videos(arguments, processor, rows)
    outputs: BatchFeature = processor(**arguments)
    return outputs


def is_told_in_one_call(row: Sequence[Loaded]) -> bool:
    """Whether one call gives each video of a row its own frame rate, where their tokens depend on it.

    Sound is woven in by the rate, of which Qwen2.5-Omni's processor takes one for all.
    """
    clips = [item for item in row if isinstance(item, Clip)]
    return not any(clip.sound is not None for clip in clips) or len({clip.shape.taken_fps for clip in clips}) == 1


def _video_options(clips: Sequence[Clip], preprocessor: Preprocessor) -> dict[str, Any]:
    options: dict[str, Any] = {
        "do_sample_frames": False,
        "video_metadata": [_metadata(clip.shape) for clip in clips],
    }
    if preprocessor.video_size is not None:
        options["size"] = dict(preprocessor.video_size)
    rates = {clip.shape.taken_fps for clip in clips}
    if len(rates) == 1:
        # Qwen2.5-Omni takes the time between frames from this, not from the metadata
        options["fps"] = rates.pop()
    return options


def _metadata(shape: VideoShape) -> VideoMetadata:
    """A new one for each call: processors lengthen its list of indices."""
    return VideoMetadata(
        total_num_frames=shape.num_file_frames,
        fps=shape.file_fps,
        width=shape.width,
        height=shape.height,
        duration=shape.num_file_frames / shape.file_fps,
        frames_indices=list(shape.indices),
    )


def _sounds(rows: Sequence[Sequence[Loaded]]) -> list[np.ndarray]:
    """Every sound in the order of the placeholders, those of videos among them."""
    found = (item.sound if isinstance(item, Clip) else item for row in rows for item in row)
    return [sound for sound in found if isinstance(sound, np.ndarray)]


def _name_sounds_of_videos(arguments: dict[str, Any], processor: Any, rows: Sequence[Sequence[Loaded]]) -> None:
    """Add what a processor needs to weave sounds into their videos' tokens.

    transformers renamed it in 5.2x; before, every sound behind a video's placeholder was taken for the video's.
    """
    if not hasattr(processor, "load_audio_from_video"):
        arguments["videos_kwargs"]["use_audio_in_video"] = True
        return
    owners: list[int | None] = []
    num_clips = 0
    for item in (item for row in rows for item in row):
        if isinstance(item, np.ndarray):
            owners.append(None)
        elif isinstance(item, Clip):
            owners += [num_clips] if item.sound is not None else []
            num_clips += 1
    arguments |= {"load_audio_from_video": True, "audio_from_video_indices": owners}
