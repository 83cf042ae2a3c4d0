"""How pictures are cut, against the published function's own numbers (side 448, patches of 14)."""

from __future__ import annotations

import math
import random

import pytest

from tunesmith.models.families.minicpmv.slicing import Grid, Size, Slicing, choose_grid, plan_slices


def plan(size: Size, *, max_slices: int = 9) -> Slicing:
    return plan_slices(size, max_slices=max_slices, side=448, patch=14)


@pytest.mark.parametrize(
    ("size", "overview", "grid", "cell"),
    [
        ((224, 224), (448, 448), None, None),
        ((448, 448), (448, 448), None, None),
        ((449, 449), (448, 448), (1, 2), (630, 322)),
        ((640, 480), (518, 392), (2, 1), (364, 546)),
        ((800, 600), (518, 392), (2, 2), (518, 392)),
        ((1024, 768), (518, 392), (2, 2), (518, 392)),
        ((1024, 1024), (448, 448), (3, 2), (364, 546)),
        ((1344, 1344), (448, 448), (3, 3), (448, 448)),
        ((1920, 1080), (602, 336), (4, 2), (420, 476)),
        ((1080, 1920), (336, 602), (2, 4), (476, 420)),
        ((2480, 3508), (378, 532), (2, 4), (532, 378)),
        ((4000, 300), (1624, 126), (7, 1), (616, 322)),
        ((300, 4000), (126, 1638), (1, 7), (322, 616)),
        ((100, 50), (630, 322), None, None),
    ],
)
def test_golden_table(size: Size, overview: Size, grid: Grid | None, cell: Size | None) -> None:
    slicing = plan(size)

    assert slicing.grid == grid
    assert slicing.sizes == (overview, *[cell] * (math.prod(grid) if grid else 0))


@pytest.mark.parametrize(("max_slices", "grid"), [(1, None), (2, (1, 2)), (4, (2, 2)), (9, (3, 3)), (25, (5, 5))])
def test_no_more_slices_than_allowed_however_large_the_picture(max_slices: int, grid: Grid | None) -> None:
    assert plan((8000, 8000), max_slices=max_slices).grid == grid


def test_a_picture_needs_no_more_slices_than_its_area_whatever_is_allowed() -> None:
    assert plan((1344, 1344), max_slices=9).grid == (3, 3)
    assert plan((1344, 1344), max_slices=100).grid == (3, 3)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((1, 1), ((448, 448),)),
        ((1, 4000), ((14, 28336),)),
        ((4000, 1), ((28000, 14),)),
        ((20_000, 20), ((14_000, 14), (7994, 28), (7994, 28), (7994, 28))),
    ],
)
def test_extreme_shapes_get_at_least_one_patch_a_side(size: Size, sizes: tuple[Size, ...]) -> None:
    assert plan(size).sizes == sizes


def test_every_side_is_whole_patches_and_every_slice_has_about_the_area_of_448_by_448() -> None:
    drawn = random.Random(0)
    for _ in range(300):
        size = drawn.randint(30, 4000), drawn.randint(30, 4000)
        slicing = plan(size)
        for width, height in slicing.sizes:
            assert width % 14 == 0 and height % 14 == 0
            if 0.1 < size[0] / size[1] < 10:
                assert 0.7 < width * height / 448**2 < 1.4, size
        assert slicing.canvas is None or len(slicing.sizes) == 1 + math.prod(slicing.grid or ())


def test_the_first_of_equally_near_grids_is_taken() -> None:
    assert choose_grid((449, 449), max_slices=9, side=448) == (1, 2)  # as near as (2, 1)
    assert choose_grid((900, 900), max_slices=9, side=448) == (2, 2)


def test_fewer_than_one_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="max_slice_nums is 0; it must be 1 or more"):
        plan((100, 100), max_slices=0)
