"""Media of a given shape without content, as cheap as a processor can be made to take them.

Pixels live on PyTorch's "meta" device, where only shapes are computed; sound skips the spectrogram. Whether a
processor gets along with that is for the caller to check. Knows nothing of what processors write.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from tunesmith.data.encoding.loaded_media import Clip, Loaded
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, Shape
from tunesmith.models.preprocessing.processor import Preprocessor

_SPECTROGRAMS = ("_torch_extract_fbank_features", "_np_extract_fbank_features")
"""What transformers' Whisper-like feature extractors compute features by; everything else they do is about lengths."""


def blank_medium(shape: Shape, *, without_content: bool) -> Loaded:
    """A medium of `shape`: black or silent, or `without_content` with nothing but its shape where that is possible."""
    device = "meta" if without_content else "cpu"
    if isinstance(shape, ImageShape):
        if without_content:
            return torch.zeros((3, shape.height, shape.width), dtype=torch.uint8, device=device)
        return Image.new("RGB", (shape.width, shape.height))
    if isinstance(shape, AudioShape):
        return np.zeros(shape.num_samples, dtype=np.float32)
    size = (shape.num_frames, 3, shape.height, shape.width)
    frames = torch.zeros(size, dtype=torch.uint8, device=device)
    sound = None if shape.num_sound_samples is None else np.zeros(shape.num_sound_samples, dtype=np.float32)
    return Clip(frames, shape, sound)


def without_spectrograms(preprocessor: Preprocessor) -> Preprocessor:
    """The same with a feature extractor that returns zeros for features; `preprocessor` itself if it has no such."""
    extractor: Any = getattr(preprocessor.processor, "feature_extractor", None)
    if not all(hasattr(extractor, name) for name in _SPECTROGRAMS):
        return preprocessor
    quick = copy.copy(extractor)

    def zeros(waveforms: Any, _device: str) -> np.ndarray:
        """(B, feature_size, frames) for (B, samples), no memory behind it."""
        num_clips, num_samples = np.shape(waveforms)
        return np.broadcast_to(
            np.float32(0), (num_clips, int(extractor.feature_size), num_samples // int(extractor.hop_length))
        )

    for name in _SPECTROGRAMS:
        setattr(quick, name, zeros)
    processor: Any = copy.copy(preprocessor.processor)
    processor.feature_extractor = quick
    return replace(preprocessor, processor=processor)
