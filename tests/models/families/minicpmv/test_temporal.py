"""The grid in time: exact rounding, where the published sampler is off by one, and ragged last groups."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.models.families.minicpmv.temporal import group_lengths, temporal_ids


def _ids(indices: list[int], *, total: int, fps: float, scale: float = 0.1) -> tuple[int, ...]:
    return temporal_ids(indices, num_file_frames=total, file_fps=fps, time_scale=scale)


@pytest.mark.parametrize(
    ("indices", "fps", "expected"),
    [
        ([0, 3, 6, 9], 30.0, (0, 1, 2, 3)),
        ([0, 1, 2, 3, 4], 30.0, (0, 0, 1, 1, 1)),
        ([15, 45, 75], 30.0, (5, 15, 25)),
        ([0, 30, 60], 30000 / 1001, (0, 10, 20)),
        ([0, 24, 48], 24000 / 1001, (0, 10, 20)),
        ([0, 1, 2], 1.0, (0, 10, 20)),
    ],
)
def test_an_id_is_the_nearest_tenth_of_a_second(indices: list[int], fps: float, expected: tuple[int, ...]) -> None:
    assert _ids(indices, total=100, fps=fps) == expected


def test_of_two_points_as_near_the_later_is_taken() -> None:
    assert _ids([0, 1, 2, 3, 4], total=20, fps=20.0) == (0, 1, 1, 2, 2)


def test_no_id_lies_beyond_the_end() -> None:
    # 10 frames at 24 a second are 0.4167 s: the grid is 0, 0.1, 0.2, 0.3, 0.4
    assert _ids([0, 9], total=10, fps=24.0) == (0, 4)
    # 0.35 s: frame 6 of 0.35 s would round to 0.3 as well as its neighbour
    assert _ids([5, 6], total=7, fps=20.0) == (3, 3)
    assert _ids([0], total=1, fps=30.0) == (0,)


def test_another_scale_counts_other_points() -> None:
    assert _ids([0, 15, 30], total=60, fps=30.0, scale=0.5) == (0, 1, 2)
    assert _ids([0, 15, 30], total=60, fps=30.0, scale=0.05) == (0, 10, 20)


def test_every_point_of_the_grid_gets_its_own_number() -> None:
    assert _ids(list(range(600)), total=600, fps=10.0) == tuple(range(600))


def test_the_published_truncation_is_one_less_at_four_percent_of_the_points() -> None:
    grid = np.arange(0, 18, 0.1)
    published = (grid / 0.1).astype(np.int32)
    exact = np.array(_ids(list(range(len(grid))), total=len(grid), fps=10.0))
    differing = np.flatnonzero(published != exact)
    assert differing.tolist() == [43, 81, 86, 91, 162, 167, 172, 177]
    assert (exact - published)[differing].tolist() == [1] * len(differing)


@pytest.mark.parametrize(
    ("num_frames", "packing", "expected"),
    [(128, 3, (3,) * 42 + (2,)), (6, 3, (3, 3)), (4, 3, (3, 1)), (2, 6, (2,)), (3, 1, (1, 1, 1)), (1, 2, (1,))],
)
def test_groups_are_full_but_for_the_last(num_frames: int, packing: int, expected: tuple[int, ...]) -> None:
    assert group_lengths(num_frames, packing) == expected
