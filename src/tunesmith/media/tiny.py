"""The smallest media there are: a grey picture, two seconds of grey frames, a second of silence, as files in bytes.

Knows nothing of what they are for.
"""

from __future__ import annotations

import io
import wave

from PIL import Image

_SIDE = 64
_NUM_FRAMES, _FRAME_MS = 8, 250
_SOUND_RATE = 8_000


def tiny_image() -> bytes:
    """A PNG of 64 x 64."""
    return _saved([_grey(128)], "PNG")


def tiny_video() -> bytes:
    """A GIF of 64 x 64 with 8 frames in two seconds, each brighter than the one before: equal ones would be joined."""
    return _saved([_grey(16 * number) for number in range(_NUM_FRAMES)], "GIF")


def tiny_sound() -> bytes:
    """A WAV of one second without a sound."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_SOUND_RATE)
        sound.writeframes(bytes(2 * _SOUND_RATE))
    return file.getvalue()


def _grey(brightness: int) -> Image.Image:
    return Image.new("RGB", (_SIDE, _SIDE), (brightness,) * 3)


def _saved(frames: list[Image.Image], file_format: str) -> bytes:
    file = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": _FRAME_MS} if len(frames) > 1 else {}
    frames[0].save(file, file_format, **options)
    return file.getvalue()
