"""When each frame of a video is shown, and where decoding can start: from its packets, without decoding them.

Containers announce a number of frames that may be absent (Matroska, MPEG-TS), too high (a file cut off, frames that an
edit list hides) or no help in finding frame 5,000 of a recording with uneven intervals. The packets say it exactly, and
walking them only reads the file. One frame is decoded: phones write how a video is turned where only a frame shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tunesmith.errors import DataError

MAX_LOSS = 0.05
"""The share of a video that may be missing at its end before the file counts as damaged."""
_JUMPS_EXACTLY = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}
"""Formats that write the time of every frame; MPEG streams leave some out, and a jump then guesses them wrongly."""
_SAME_RATE = 0.01
"""Containers' own frame rate is taken where it is this close to the counted one, which their clocks round."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What reading frames needs to know; frames are numbered from 0 in the order in which they are shown.

    times:        (N,) when each frame is shown, rising, in ticks of the stream's clock
    is_timed:     False where the container's times are not those of showing (AVI with B-frames): frames are then found
                  by counting, and `times` are their numbers
    keys:         (K,) numbers of the frames that can be jumped to; none where the container gives no safe way
    key_offsets:  (K,) their decoding times, in ticks
    decoded_size: (width, height) of frames as they come out of the decoder
    quarters:     quarter turns counterclockwise that bring them upright
    """

    times: NDArray[np.int64]
    is_timed: bool
    keys: NDArray[np.int64]
    key_offsets: NDArray[np.int64]
    fps: float
    decoded_size: tuple[int, int]
    quarters: int

    @property
    def num_frames(self) -> int:
        """How many frames are shown."""
        return len(self.times)


class _Packet(NamedTuple):
    """One coded frame; times in ticks of the stream's clock."""

    shown: int | None
    decoded: int | None
    duration: int
    is_key: bool


def walk_timeline(container: InputContainer, stream: VideoStream, name: str) -> Timeline:
    """The timeline of `stream`, whose container must stand at its start. Raises DataError if much is missing."""
    packets: list[_Packet] = []
    first: VideoFrame | None = None
    for packet in container.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        # an edit list hides frames: they are discarded, decoded only for the sake of others
        if packet.size and not packet.is_discard and not packet.is_corrupt:
            packets.append(_Packet(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe))
    if first is None or not packets:
        raise DataError(f"{name}: the video has no frames")
    _check_whole(packets, stream, name)
    container_name = container.format.name
    is_timed = _has_times(packets) and not (container_name == "avi" and stream.codec_context.has_b_frames)
    may_jump = is_timed and container_name in _JUMPS_EXACTLY
    return _timeline(packets, stream, first, is_timed=is_timed, may_jump=may_jump)


def _timeline(
    packets: list[_Packet], stream: VideoStream, first: VideoFrame, *, is_timed: bool, may_jump: bool
) -> Timeline:
    if is_timed:
        packets.sort(key=_shown)
    starts = [(number, _decoded(packet)) for number, packet in enumerate(packets) if packet.is_key and may_jump]
    keys = np.array(starts, dtype=np.int64).reshape(-1, 2)
    return Timeline(
        times=np.array([_shown(packet) for packet in packets] if is_timed else range(len(packets)), dtype=np.int64),
        is_timed=is_timed,
        keys=keys[:, 0].copy(),
        key_offsets=keys[:, 1].copy(),
        fps=_frame_rate(packets, stream, is_timed=is_timed),
        decoded_size=(first.width, first.height),
        quarters=round(first.rotation / 90) % 4,
    )


def _check_whole(packets: list[_Packet], stream: VideoStream, name: str) -> None:
    """By time: how many frames the container announces is also wrong for edited and for sparse videos."""
    times = [packet.shown for packet in packets if packet.shown is not None]
    if not times or stream.duration is None or stream.time_base is None:
        return
    ticks = max(times) - min(times) + packets[-1].duration
    if ticks < stream.duration * (1 - MAX_LOSS) - packets[-1].duration:
        there, announced = (float(length * stream.time_base) for length in (ticks, stream.duration))
        raise DataError(f"{name}: the video is cut off ({there:.1f} of {announced:.1f} s are there)")


def _has_times(packets: list[_Packet]) -> bool:
    times = {packet.shown for packet in packets}
    return None not in times and len(times) == len(packets)


def _shown(packet: _Packet) -> int:
    return packet.shown or 0


def _decoded(packet: _Packet) -> int:
    return _shown(packet) if packet.decoded is None else packet.decoded


def _frame_rate(packets: list[_Packet], stream: VideoStream, *, is_timed: bool) -> float:
    """Frames a second over the whole video: the container's number where it agrees with the counted one."""
    announced = float(stream.average_rate or stream.guessed_rate or 1)
    ticks = _shown(packets[-1]) - _shown(packets[0]) + packets[-1].duration
    if not is_timed or ticks <= 0 or stream.time_base is None:
        return announced
    counted = float(len(packets) / (ticks * stream.time_base))
    return announced if abs(counted - announced) <= _SAME_RATE * counted else counted
