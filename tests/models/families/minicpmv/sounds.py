"""Sounds that are a function of their length and pitch, the same on every machine."""

from __future__ import annotations

import numpy as np

RATE = 16_000
SOUNDS: dict[str, tuple[int, float]] = {
    "short": (23_456, 440),
    "odd": (2 * RATE + 161, 200),
    "tiny": (400, 900),
    "long": (31 * RATE + 777, 300),
}
"""Samples and pitch: 1.5 s, one of an odd number of mel frames, one of a single token, one of two pieces."""


def tone(num_samples: int, pitch: float) -> np.ndarray:
    """(N,) float32: a tone that swells and fades, with an overtone, for which no spectrogram frame is like another."""
    seconds = np.arange(num_samples) / RATE
    swelling = 0.3 * np.sin(2 * np.pi * pitch * seconds) * np.sin(2 * np.pi * 0.7 * seconds + 0.3)
    return (swelling + 0.05 * np.sin(2 * np.pi * 3.1 * pitch * seconds)).astype(np.float32)


def sound(name: str) -> np.ndarray:
    """One of SOUNDS."""
    return tone(*SOUNDS[name])
