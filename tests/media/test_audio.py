"""Sound of any format becomes mono at the model's rate, exactly as long as was counted."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.clips import sine, write_sound, write_video
from tests.media.test_fetch import write_tar
from tunesmith.chat.message import Media
from tunesmith.errors import DataError
from tunesmith.media.audio import AudioInfo, num_samples_at, probe_audio, read_audio

EXACT = [
    ("u8.wav", "pcm_u8", "u8", 11025, 1, 1 / 128),
    ("s16.wav", "pcm_s16le", "s16", 44100, 2, 1 / 2**15),
    ("s24.wav", "pcm_s24le", "s32", 48000, 2, 1 / 2**23),
    ("s32.wav", "pcm_s32le", "s32", 96000, 1, 1e-7),
    ("f32.wav", "pcm_f32le", "flt", 8000, 6, 1e-7),
    ("f64.wav", "pcm_f64le", "dbl", 22050, 1, 1e-7),
    ("s16.flac", "flac", "s16", 16000, 2, 1 / 2**15),
    ("s24.flac", "flac", "s32", 96000, 6, 1 / 2**23),
]
LOSSY = [
    ("stereo.mp3", "libmp3lame", "s16p", 44100, 2),
    ("mono.mp3", "libmp3lame", "fltp", 16000, 1),
    ("stereo.m4a", "aac", "fltp", 44100, 2),
    ("mono.aac", "aac", "fltp", 48000, 1),
    ("mono.opus", "libopus", "s16", 48000, 1),
    ("mono.ogg", "libopus", "s16", 48000, 1),
    ("stereo.webm", "libopus", "s16", 48000, 2),
    ("stereo.mkv", "aac", "fltp", 44100, 2),
    ("stereo.ts", "aac", "fltp", 44100, 2),
]


def sound(path: Path) -> Media:
    return Media("audio", str(path))


def num_decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(container.streams.audio[0]))


@pytest.mark.parametrize(("name", "codec", "sample_format", "rate", "num_channels", "step"), EXACT)
def test_samples_without_loss_are_the_mean_of_the_channels(
    tmp_path: Path, name: str, codec: str, sample_format: str, rate: int, num_channels: int, step: float
) -> None:
    channels = [sine(rate) * (number + 1) / num_channels for number in range(num_channels)]
    path = write_sound(tmp_path / name, codec=codec, sample_format=sample_format, sampling_rate=rate, channels=channels)
    assert probe_audio(sound(path)) == AudioInfo(rate // 2, rate)
    samples = read_audio(sound(path), sampling_rate=rate)
    assert (samples.dtype, samples.shape) == (np.float32, (rate // 2,))
    np.testing.assert_allclose(samples, np.mean(channels, axis=0), atol=step)


@pytest.mark.parametrize(("name", "codec", "sample_format", "rate", "num_channels"), LOSSY)
def test_compressed_sound_is_counted_as_it_decodes(
    tmp_path: Path, name: str, codec: str, sample_format: str, rate: int, num_channels: int
) -> None:
    channels = [sine(rate, seconds=1.37)] * num_channels
    path = write_sound(tmp_path / name, codec=codec, sample_format=sample_format, sampling_rate=rate, channels=channels)
    info = probe_audio(sound(path))
    # Matroska's clock ticks in milliseconds, and the padding of its last packet is not always told; an M4A's end is
    # cut by its duration, which players heed
    tolerance = {"webm": rate // 100, "mkv": rate // 100, "m4a": 1024}.get(name.rpartition(".")[2], 0)
    assert abs(info.num_samples - num_decoded(path)) <= tolerance
    assert len(read_audio(sound(path), sampling_rate=rate)) == info.num_samples
    assert len(read_audio(sound(path), sampling_rate=16000)) == num_samples_at(info, 16000)


def test_gapless_formats_have_the_length_and_the_place_of_what_was_encoded(tmp_path: Path) -> None:
    wave = sine(44100, seconds=1.0)
    for name, codec, sample_format in (("a.mp3", "libmp3lame", "s16p"), ("a.m4a", "aac", "fltp")):
        path = write_sound(
            tmp_path / name, codec=codec, sample_format=sample_format, sampling_rate=44100, channels=[wave, wave]
        )
        assert probe_audio(sound(path)).num_samples == 44100
        samples = read_audio(sound(path), sampling_rate=44100)
        assert np.abs(samples - wave)[2000:-2000].max() < 0.05  # one sample of delay would make 0.03 more


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("wanted", [16000, 24000])
def test_resampling_keeps_wave_place_and_length(tmp_path: Path, rate: int, wanted: int) -> None:
    path = write_sound(
        tmp_path / "wave.wav",
        codec="pcm_f32le",
        sample_format="flt",
        sampling_rate=rate,
        channels=[sine(rate, seconds=0.777)],
    )
    samples = read_audio(sound(path), sampling_rate=wanted)
    expected = sine(wanted, seconds=1.0)[: -(-round(rate * 0.777) * wanted // rate)]
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples[200:-200], expected[200:-200], atol=1e-3)


@pytest.mark.parametrize(
    ("num_samples", "rate", "wanted", "expected"), [(3, 44100, 16000, 2), (441, 44100, 16000, 160)]
)
def test_the_length_is_rounded_up(num_samples: int, rate: int, wanted: int, expected: int) -> None:
    assert num_samples_at(AudioInfo(num_samples, rate), wanted) == expected


@pytest.mark.parametrize("num_samples", [1, 2, 10, 1000])
def test_short_sounds_keep_their_length(tmp_path: Path, num_samples: int) -> None:
    path = write_sound(
        tmp_path / "short.wav",
        codec="pcm_s16le",
        sample_format="s16",
        sampling_rate=8000,
        channels=[np.full(num_samples, 0.25)],
    )
    assert len(read_audio(sound(path), sampling_rate=16000)) == 2 * num_samples


def test_opposite_channels_cancel_and_loud_sound_is_clipped(tmp_path: Path) -> None:
    wave = sine(16000)
    path = write_sound(
        tmp_path / "opposite.wav",
        codec="pcm_f32le",
        sample_format="flt",
        sampling_rate=16000,
        channels=[wave, -wave],
    )
    assert np.abs(read_audio(sound(path), sampling_rate=16000)).max() == 0
    write_sound(path, codec="pcm_f32le", sample_format="flt", sampling_rate=16000, channels=[4 * wave])
    loud = read_audio(sound(path), sampling_rate=16000)
    assert (loud.min(), loud.max()) == (-1.0, 1.0)


def test_the_sound_of_a_video_and_every_source(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", with_sound=True)
    archive = write_tar(tmp_path / "shard.tar", {"clip.mp4": clip.read_bytes()})
    sources = (str(clip), clip.read_bytes(), f"{archive}::clip.mp4")
    assert {probe_audio(Media("video", source)) for source in sources} == {AudioInfo(40000, 16000)}
    first, *others = [read_audio(Media("video", source), sampling_rate=16000) for source in sources]
    assert all(np.array_equal(first, other) for other in others)
    assert np.abs(first - sine(16000, seconds=2.5))[2000:-2000].max() < 0.1


def test_what_has_no_sound_is_named(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", num_frames=3)
    with pytest.raises(DataError, match=r"silent\.mp4: the file has no sound"):
        probe_audio(sound(silent))
    with pytest.raises(DataError, match="a list of frames has no sound"):
        probe_audio(Media("video", ("a.png",)))


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    wave = sine(16000)
    wave[100] = np.nan
    path = write_sound(
        tmp_path / "nan.wav", codec="pcm_f32le", sample_format="flt", sampling_rate=16000, channels=[wave]
    )
    with pytest.raises(DataError, match=r"nan\.wav: the sound has values that are not numbers"):
        read_audio(sound(path), sampling_rate=16000)
