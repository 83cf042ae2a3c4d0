"""LLaMA-Factory's own demo clips, where they are at hand: counted and sampled exactly."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.clips import all_frames
from tunesmith.chat.message import Media
from tunesmith.media.audio import AudioInfo, probe_audio, read_audio
from tunesmith.media.video import VideoInfo, plan_frames, probe_video, read_frames

DEMO = Path(__file__).parents[3] / "shared" / "data" / "llamafactory_demo" / "mllm_demo_data"

pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo clips are not in ../shared/data")


@pytest.mark.parametrize(
    ("name", "num_frames", "fps", "size"),
    [
        ("1.mp4", 243, 25.0, (640, 360)),
        ("2.avi", 270, 359 / 12, (320, 240)),
        ("3.mp4", 146, 24000 / 1001, (640, 360)),
        ("4.mp4", 150, 30.0, (224, 224)),
    ],
)
def test_videos(name: str, num_frames: int, fps: float, size: tuple[int, int]) -> None:
    media = Media("video", str(DEMO / name))
    info = probe_video(media)
    assert info == VideoInfo(num_frames, fps, *size, num_frames / fps, has_audio=False)
    frames = all_frames(DEMO / name)
    assert len(frames) == num_frames
    for wanted in (plan_frames(info, fps=2.0, max_frames=128), plan_frames(info, fps=30.0, max_frames=8), (77,)):
        assert np.array_equal(read_frames(media, wanted), np.stack([frames[number] for number in wanted]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1.mp3", AudioInfo(193536, 48000)),
        ("4.mp3", AudioInfo(220500, 44100)),
        ("2.wav", AudioInfo(46421, 16000)),
        ("3.flac", AudioInfo(93680, 16000)),
    ],
)
def test_sounds(name: str, expected: AudioInfo) -> None:
    media = Media("audio", str(DEMO / name))
    assert probe_audio(media) == expected
    with av.open(str(DEMO / name)) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(container.streams.audio[0])]
    whole = np.concatenate(decoded, axis=1)
    floats = whole / 2**15 if whole.dtype == np.int16 else whole
    samples = read_audio(media, sampling_rate=expected.sampling_rate)
    np.testing.assert_allclose(samples, floats.mean(axis=0).clip(-1, 1), atol=1e-6)
    assert np.abs(read_audio(media, sampling_rate=16000)).max() <= 1.0
