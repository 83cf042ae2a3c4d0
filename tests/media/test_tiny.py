"""The smallest media, read back as those of a row are."""

from __future__ import annotations

import numpy as np

from tunesmith.chat.message import Media
from tunesmith.media.audio import num_samples_at, probe_audio
from tunesmith.media.image import open_image, probe_image
from tunesmith.media.tiny import tiny_image, tiny_sound, tiny_video
from tunesmith.media.video import probe_video, read_frames


def test_they_are_read_like_any_other() -> None:
    picture = Media("image", tiny_image())
    assert probe_image(picture) == (64, 64) == open_image(picture).size
    clip = probe_video(Media("video", tiny_video()))
    assert (clip.num_frames, clip.size, clip.has_audio) == (8, (64, 64), False)
    assert clip.fps is not None and 3.9 < clip.fps < 4.3
    assert num_samples_at(probe_audio(Media("audio", tiny_sound())), 16_000) == 16_000


def test_no_two_frames_are_the_same() -> None:
    frames = read_frames(Media("video", tiny_video()), range(8))
    brightness = frames.reshape(8, -1).mean(axis=1)
    assert (np.diff(brightness) > 8).all()


def test_they_never_change() -> None:
    assert [tiny() for tiny in (tiny_image, tiny_video, tiny_sound)] == [
        tiny() for tiny in (tiny_image, tiny_video, tiny_sound)
    ]
