"""Damaged and mistaken video and sound files: one DataError each that names the file, never a crash."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.media.clips import sine, write_sound, write_video
from tunesmith.chat.message import Media
from tunesmith.errors import DataError
from tunesmith.media.audio import num_samples_at, probe_audio, read_audio
from tunesmith.media.video import plan_frames, probe_video, read_frames

TEXT = b"This is a sentence, and no sound and no picture at all.\n" * 50


def whole_video(path: Path) -> bytes:
    return write_video(path).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.mp4", lambda path: whole_video(path)[:-600], "damaged, or no video that FFmpeg can decode"),
        ("header.mp4", lambda path: whole_video(path)[:40], "damaged, or no video that FFmpeg can decode"),
        ("empty.mp4", lambda path: b"", "damaged, or no video that FFmpeg can decode"),
        ("text.mp4", lambda path: TEXT, "damaged, or no video that FFmpeg can decode"),
        ("page.avi", lambda path: b"<html>404</html>", "damaged, or no video that FFmpeg can decode"),
        ("unknown.mp4", lambda path: whole_video(path).replace(b"avc1", b"zzz1"), "no decoder for its codec"),
    ],
)
def test_videos_that_cannot_be_opened_are_named(
    tmp_path: Path, name: str, content: Callable[[Path], bytes], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content(tmp_path / "whole.mp4"))
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        probe_video(Media("video", str(path)))


def test_a_video_that_was_cut_off_says_how_much_is_left(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", codec="mjpeg")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"clip\.avi: the video is cut off \(\d\.\d of \d\.\d s are there\)"):
        probe_video(Media("video", str(path)))


def test_a_download_that_broke_off_is_noticed_although_its_table_is_whole(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", container_options={"movflags": "+faststart"})
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    path.write_bytes(content[: int(len(content) * 0.7)])
    with pytest.raises(DataError, match=r"clip\.mp4: the video is cut off \(\d\.\d of 2\.5 s are there\)"):
        probe_video(Media("video", str(path)))


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    path = write_sound(
        tmp_path / "tone.wav", codec="pcm_s16le", sample_format="s16", sampling_rate=8000, channels=[sine(8000)]
    )
    with pytest.raises(DataError, match=r"tone\.wav: the file has no video"):
        probe_video(Media("video", str(path)))


def test_a_video_without_frames_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "none.mkv", num_frames=0)
    with pytest.raises(DataError, match=r"none\.mkv: "):
        probe_video(Media("video", str(path)))


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.mp3", TEXT), ("empty.wav", b""), ("page.flac", b"<html>404</html>"), ("zeros.mp3", bytes(5000))],
)
def test_sounds_that_cannot_be_opened_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_audio(Media("audio", str(path)), sampling_rate=16000)


def test_a_sound_of_no_length_is_named(tmp_path: Path) -> None:
    path = write_sound(
        tmp_path / "zero.wav", codec="pcm_s16le", sample_format="s16", sampling_rate=8000, channels=[sine(8000)]
    )
    path.write_bytes(path.read_bytes()[:78])  # up to its samples
    with pytest.raises(DataError, match=r"zero\.wav: the sound is empty \(0 samples\)"):
        probe_audio(Media("audio", str(path)))


def test_a_sound_that_was_cut_off_is_as_long_as_what_is_there(tmp_path: Path) -> None:
    path = write_sound(
        tmp_path / "cut.wav", codec="pcm_s16le", sample_format="s16", sampling_rate=8000, channels=[sine(8000)]
    )
    path.write_bytes(path.read_bytes()[:-2000])
    assert probe_audio(Media("audio", str(path))).num_samples == 3000


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "tone.mp3", "tone.flac"])
def test_random_damage_is_survived_or_named(tmp_path: Path, name: str) -> None:
    if name.startswith("clip"):
        whole = write_video(tmp_path / name, options={"g": "12"}, num_frames=30, with_sound=True).read_bytes()
    else:
        codec = {"mp3": "libmp3lame", "flac": "flac"}[name[5:]]
        kind = {"mp3": "s16p", "flac": "s16"}[name[5:]]
        whole = write_sound(
            tmp_path / name, codec=codec, sample_format=kind, sampling_rate=16000, channels=[sine(16000)]
        ).read_bytes()
    chance = random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole[: chance.choice((len(whole), chance.randrange(len(whole))))])
        for _ in range(chance.choice((0, 1, 20))):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        _read_or_name(Media("video", bytes(damaged)))


def _read_or_name(media: Media) -> None:
    try:
        info = probe_video(media)
        assert len(read_frames(media, plan_frames(info, fps=2.0, max_frames=4))) > 0
    except DataError as error:
        assert media.name in str(error)
    try:
        sound = probe_audio(media)
        assert len(read_audio(media, sampling_rate=8000)) == num_samples_at(sound, 8000)
    except DataError as error:
        assert media.name in str(error)
