"""The player decodes little: it jumps to the nearest keyframe, and gives up jumping where that leads astray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.media.clips import all_frames, write_video
from tunesmith.media.container import opened_container, video_stream
from tunesmith.media.fetch import Reference, find_content
from tunesmith.media.player import JumpError, Player
from tunesmith.media.timeline import Timeline, walk_timeline


def timeline_of(path: Path) -> Timeline:
    with opened_container(find_content(Reference(str(path), "clip")), kind="video", name="clip") as container:
        return walk_timeline(container, video_stream(container, "clip"), "clip")


def packets_read(path: Path, timeline: Timeline, number: int) -> int:
    """How many packets the decoder is given for this frame; the frame is checked on the way."""
    content = find_content(Reference(str(path), "clip"))
    with opened_container(content, kind="video", name="clip") as container:
        stream = video_stream(container, "clip")
        player = Player(container, stream, timeline, wanted={number}, name="clip")
        shown = player.show(number).to_ndarray(format="rgb24")
        assert np.array_equal(shown, all_frames(path)[number])
        return player.num_packets


def test_frames_between_are_not_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", options={"g": "12", "bf": "0", "x264-params": "scenecut=0"})
    timeline = timeline_of(path)
    assert timeline.keys.tolist() == [0, 12, 24, 36, 48]
    assert packets_read(path, timeline, 50) <= 4  # 48, 49, 50, and one that the decoder may hold back
    assert packets_read(path, timeline, 11) <= 13


def test_a_jump_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", options={"g": "12", "bf": "0"})
    timeline = timeline_of(path)
    of_another_file = replace(timeline, times=timeline.times - 10**6, key_offsets=timeline.key_offsets - 10**6)
    with pytest.raises(JumpError):
        packets_read(path, of_another_file, 30)


@pytest.mark.parametrize("name", ["program.mpg", "broadcast.ts"])
def test_mpeg_streams_are_only_played_forward(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, codec="mpeg2video", options={"bf": "2", "g": "12"})
    timeline = timeline_of(path)
    assert timeline.keys.tolist() == []
    assert packets_read(path, timeline, 24) >= 25


def test_times_that_are_not_those_of_showing_are_counted_instead(tmp_path: Path) -> None:
    timeline = timeline_of(write_video(tmp_path / "clip.avi", options={"g": "12", "bf": "2"}))
    assert not timeline.is_timed
    assert (timeline.times.tolist(), timeline.keys.tolist()) == (list(range(60)), [])
