"""Frames of a video by their numbers, decoding as little as possible, each exactly as decoding everything gives it.

Decoding goes forward from frame to frame. Where a frame at which it can start lies well ahead and not behind the wanted
one, it jumps there, so no frame is decoded twice. Frames that no other depends on are skipped unless they are wanted.
"""

from __future__ import annotations

from collections.abc import Generator, Set

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tunesmith.errors import DataError
from tunesmith.media.timeline import MAX_LOSS, Timeline

_WORTH_A_JUMP = 8
"""Frames that a jump must save: after it the decoder starts anew, which costs about as much as a few frames."""
_SKIPS_EXACTLY = {"h264"}
"""Decoders that tell frames which no other depends on by the standard's own mark (nal_ref_idc = 0)."""


class JumpError(Exception):
    """The container did not lead to the frame that it was asked for; only going forward from the start is safe."""


class Player:
    """A decoder at one frame of a video; `show` takes it forward. The container must stand at its start."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, timeline: Timeline, *, wanted: Set[int], name: str
    ) -> None:
        self._container = container
        self._stream = stream
        self._timeline = timeline
        self._name = name
        self._wanted_times = {int(timeline.times[number]) for number in wanted}
        self.num_packets = 0
        """Packets handed to the decoder so far."""
        self._frames = self._forward()
        self._number = -1
        self._frame: VideoFrame | None = None

    def show(self, number: int, *, may_jump: bool = True) -> VideoFrame:
        """Frame `number`, which must be one of `wanted` and not before the last one shown.

        A packet that gives no picture of its own shows the next one. Raises JumpError; DataError if the video ends
        before.
        """
        start = self._start_for(number) if may_jump else None
        if start is not None:
            self._jump(start)
        while self._number < number:
            if not self._advance():
                return self._last_for(number)
        assert self._frame is not None
        return self._frame

    def _start_for(self, number: int) -> int | None:
        """Which of the keys to jump to, or None if decoding on is no slower."""
        keys = self._timeline.keys
        start = int(np.searchsorted(keys, number, side="right")) - 1
        return start if start >= 0 and keys[start] - self._number > _WORTH_A_JUMP else None

    def _jump(self, start: int) -> None:
        key = int(self._timeline.keys[start])
        # most containers are entered by the time of showing, MP4 by that of decoding, which is no later
        for offset in (int(self._timeline.times[key]), int(self._timeline.key_offsets[start])):
            self._frames.close()
            self._container.seek(offset, stream=self._stream)
            self._frames = self._forward()
            if self._advance() and self._number <= key and self._frame is not None and self._frame.key_frame:
                return
        raise JumpError

    def _advance(self) -> bool:
        frame = next(self._frames, None)
        if frame is None:
            return False
        if self._timeline.is_timed and frame.pts is not None:
            self._number = int(np.searchsorted(self._timeline.times, frame.pts))
        else:
            self._number += 1
        self._frame = frame
        return True

    def _forward(self) -> Generator[VideoFrame]:
        decoder = self._stream.codec_context
        skips = self._timeline.is_timed and decoder.name in _SKIPS_EXACTLY
        for packet in self._container.demux(self._stream):
            if skips:
                decoder.skip_frame = "DEFAULT" if packet.pts in self._wanted_times else "NONREF"
            self.num_packets += bool(packet.size)
            yield from packet.decode()

    def _last_for(self, number: int) -> VideoFrame:
        num_frames = self._timeline.num_frames
        if self._frame is None or number - self._number > max(1, MAX_LOSS * num_frames):
            raise DataError(f"{self._name}: only {self._number + 1} of {num_frames} frames can be decoded")
        return self._frame
