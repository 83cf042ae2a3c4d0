"""Videos are counted exactly and sampled without changing a pixel."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.clips import NUM_FRAMES, SIZE, all_frames, hide_start, picture, turn, write_video
from tests.media.test_fetch import write_tar
from tunesmith.chat.message import Media
from tunesmith.errors import DataError
from tunesmith.media.budget import budget_size
from tunesmith.media.video import VideoInfo, plan_frames, probe_video, read_frames

TIMES_MS = np.cumsum(np.random.default_rng(1).integers(10, 90, NUM_FRAMES)).tolist()
FEW_KEYFRAMES = {"g": "1000", "x264-params": "scenecut=0"}
FILES = {
    "b_frames.mp4": {"options": {"g": "12", "bf": "3"}},
    "one_keyframe.mp4": {"options": FEW_KEYFRAMES},
    "open_groups.mp4": {"options": {"g": "12", "x264-params": "open-gop=1:scenecut=0"}},
    "intra_refresh.mp4": {"options": {"g": "24", "x264-params": "intra-refresh=1"}},
    "only_keyframes.mp4": {"options": {"g": "1"}},
    "uneven.mp4": {"options": {"g": "15"}, "times_ms": TIMES_MS},
    "b_frames.mkv": {"options": {"g": "12", "bf": "3"}},
    "no_times_of_showing.avi": {"options": {"g": "12", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "stills.avi": {"codec": "mjpeg"},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "20", "deadline": "realtime", "cpu-used": "8"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=20:log-level=none:bframes=3"}},
    "broadcast.ts": {"options": {"g": "12"}},
    "program.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
}


def video(path: Path) -> Media:
    return Media("video", str(path))


@pytest.mark.parametrize("name", FILES)
def test_any_choice_of_frames_is_exactly_what_decoding_everything_gives(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, **FILES[name])
    frames = all_frames(path)
    assert probe_video(video(path)).num_frames == len(frames) == NUM_FRAMES
    for wanted in (
        [[n] for n in range(NUM_FRAMES)],
        [[n, n + 9, n + 30] for n in range(30)],
        [list(range(NUM_FRAMES))],
    ):
        for numbers in wanted:
            got = read_frames(video(path), numbers)
            assert [n for n, frame in zip(numbers, got, strict=True) if not np.array_equal(frame, frames[n])] == []


def test_a_recording_without_its_index_is_sampled_exactly(tmp_path: Path) -> None:
    path = write_video(tmp_path / "live.mkv", options={"g": "12"})
    path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"\x1c\x53\xbb\x6b")])  # up to the Cues
    frames = all_frames(path)
    for number in range(len(frames)):
        assert np.array_equal(read_frames(video(path), (number,))[0], frames[number])


@pytest.mark.parametrize("name", FILES)
def test_the_probe_gives_rate_and_size(tmp_path: Path, name: str) -> None:
    info = probe_video(video(write_video(tmp_path / name, **FILES[name])))
    rate = 24.0 if name != "uneven.mp4" else pytest.approx(NUM_FRAMES * 1000 / (TIMES_MS[-1] - TIMES_MS[0]), rel=0.03)
    assert (info.fps, info.size, info.has_audio) == (rate, SIZE, False)
    assert info.duration_s == NUM_FRAMES / info.fps


def test_frames_come_in_the_order_asked_for_and_as_often(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    frames = all_frames(path)
    got = read_frames(video(path), (40, 3, 40))
    assert got.shape == (3, 48, 64, 3)
    assert np.array_equal(got, np.stack([frames[40], frames[3], frames[40]]))


def test_every_source_gives_the_same_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", with_sound=True)
    archive = write_tar(tmp_path / "shard.tar", {"note.txt": b"x" * 999, "clip.mp4": path.read_bytes()})
    uri = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    sources = (str(path), path.read_bytes(), f"{archive}::clip.mp4", uri)
    infos = {probe_video(Media("video", source)) for source in sources}
    assert infos == {VideoInfo(NUM_FRAMES, 24.0, *SIZE, NUM_FRAMES / 24, has_audio=True)}
    pixels = [read_frames(Media("video", source), (0, 33, 59)) for source in sources]
    assert all(np.array_equal(pixels[0], other) for other in pixels[1:])


@pytest.mark.parametrize("num_hidden", [1, 7, 15, 30])
def test_frames_that_an_edit_list_hides_do_not_count(tmp_path: Path, num_hidden: int) -> None:
    whole = write_video(tmp_path / "whole.mp4", options={"g": "12", "bf": "2"})
    path = hide_start(whole, tmp_path / "trimmed.mp4", num_frames=num_hidden)
    frames = all_frames(path)
    assert probe_video(video(path)).num_frames == len(frames) == NUM_FRAMES - num_hidden
    for number in range(len(frames)):
        assert np.array_equal(read_frames(video(path), (number,))[0], frames[number])


@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_a_turned_video_comes_out_upright(tmp_path: Path, degrees: int, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=5)
    as_stored = np.stack(all_frames(path))
    turn(path, degrees_clockwise=degrees)
    assert probe_video(video(path)).size == size
    upright = np.rot90(as_stored, k=-degrees // 90, axes=(1, 2))
    assert np.array_equal(read_frames(video(path), range(5)), upright)


def test_a_path_that_looks_like_a_protocol_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.mp4", num_frames=3).rename(tmp_path / "concat:1.mp4")
    monkeypatch.chdir(tmp_path)
    assert probe_video(Media("video", "concat:1.mp4")).num_frames == 3


def test_frames_are_brought_to_a_size_as_images_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    size = budget_size(SIZE, max_pixels=800)
    expected = Image.fromarray(all_frames(path)[7]).resize(size)
    got = read_frames(video(path), (7,), size=size)
    assert got.shape == (1, size[1], size[0], 3)
    assert np.array_equal(got[0], np.asarray(expected))


def test_a_list_of_images_is_a_video_without_a_clock(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(picture(number)).save(paths[-1])
    Image.fromarray(picture(9)).resize((32, 24)).save(paths[3])
    media = Media("video", tuple(paths))
    info = probe_video(media)
    assert info == VideoInfo(4, None, *SIZE, None, has_audio=False)
    got = read_frames(media, (0, 2, 3))
    assert np.array_equal(got[:2], np.stack([picture(0), picture(2)]))
    assert got[2].shape == got[0].shape  # every frame gets the size of the first
    assert plan_frames(info, fps=2.0, max_frames=128) == (0, 1, 2, 3)
    assert plan_frames(info, fps=2.0, max_frames=2) == (0, 3)


@pytest.mark.parametrize(
    ("num_frames", "fps", "max_frames", "expected"),
    [
        (243, 2.0, 128, np.linspace(0, 242, 19).astype(np.int32).tolist()),  # floor(9.72 s * 2)
        (243, 2.0, 4, [0, 80, 161, 242]),
        (243, 0.01, 4, [0]),
        (3, 100.0, 128, [0, 1, 2]),
        (1, 2.0, 128, [0]),
    ],
)
def test_frames_are_planned_as_llamafactory_samples_them(
    num_frames: int, fps: float, max_frames: int, expected: list[int]
) -> None:
    info = VideoInfo(num_frames, 25.0, *SIZE, num_frames / 25, has_audio=False)
    assert list(plan_frames(info, fps=fps, max_frames=max_frames)) == expected


def test_a_number_beyond_the_video_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=5)
    for wanted in ((5,), (-1,), ()):
        with pytest.raises(IndexError, match="of a video with 5 frames"):
            read_frames(video(path), wanted)


def test_a_file_that_changes_is_probed_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    assert [probe_video(video(write_video(path, num_frames=n))).num_frames for n in (5, 8)] == [5, 8]


def test_a_list_without_frames_and_a_missing_frame_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a list of no frames"):
        probe_video(Media("video", ()))
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    media = Media("video", (str(tmp_path / "0.png"), str(tmp_path / "gone.png")))
    with pytest.raises(DataError, match=r"gone\.png \(frame 1\): cannot be read"):
        read_frames(media, (0, 1))
