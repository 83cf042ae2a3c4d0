"""Small video and sound files, written with PyAV and the standard library."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tunesmith.chat.message import Media

SOUND_RATE = 22_050


def video(
    path: Path, *, num_frames: int = 30, fps: int = 10, width: int = 96, height: int = 64, with_sound: bool = False
) -> Media:
    """An mp4 whose frames grow brighter; `with_sound` adds a tone as long as the frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if with_sound else None
        for number in range(num_frames):
            pixels = np.full((height, width, 3), 255 * number // num_frames, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(_tone(num_frames / fps)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return Media("video", str(path))


def sound(path: Path, *, seconds: float = 1.5) -> Media:
    """A wav file of a tone: 16 bits, mono, SOUND_RATE samples a second."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((_tone(seconds) * 32767).astype("<i2").tobytes())
    return Media("audio", str(path))


def _tone(seconds: float) -> np.ndarray:
    """(N,) float32, 440 Hz, rising in loudness."""
    times = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    return (0.5 * np.sin(2 * np.pi * 440 * times) * times / seconds).astype(np.float32)
