"""When a video's frames were taken, as MiniCPM-V 4.5's resampler is told: points of a grid in time, group by group.

Pure numbers. Knows nothing of pixels or text.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

_LARGEST_DENOMINATOR = 1_000_000
"""A frame rate read as a float (29.97002997…) is the fraction with a denominator below this (30000/1001)."""


def temporal_ids(
    indices: Sequence[int], *, num_file_frames: int, file_fps: float, time_scale: float
) -> tuple[int, ...]:
    """The point nearest to each frame's time on the grid 0, time_scale, 2·time_scale, … below the video's end.

    `time_scale` is in seconds. Computed in whole numbers; of two points as near the later one is taken. The published
    sampler finds the same points, but divides them by time_scale as floats and cuts the fraction off, so that 4 % of
    them (43, 81, 86, 91, …) get the number of the point before: a frame of 4.3 s has 42 there and 43 here.
    """
    rate = Fraction(file_fps).limit_denominator(_LARGEST_DENOMINATOR)
    points_per_frame = 1 / (rate * Fraction(repr(time_scale)))
    top, bottom = points_per_frame.as_integer_ratio()
    last = max(0, -(-num_file_frames * top // bottom) - 1)
    return tuple(min((2 * index * top + bottom) // (2 * bottom), last) for index in indices)


def group_lengths(num_frames: int, packing: int) -> tuple[int, ...]:
    """Frames of each group: `packing` consecutive ones, in the last what is left."""
    full, rest = divmod(num_frames, packing)
    return (packing,) * full + ((rest,) if rest else ())
