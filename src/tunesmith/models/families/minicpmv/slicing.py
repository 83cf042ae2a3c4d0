"""How large the pieces of an image are: its overview, its grid of slices, and the sizes all are scaled to.

Follows the slicing of LLaVA-UHD (Xu et al. 2024, arXiv:2403.11703, section 3.1) as MiniCPM-V publishes it, rounding
included. Pure arithmetic: knows nothing of pixels, tokens or settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

Size = tuple[int, int]
"""Width and height in pixels."""

Grid = tuple[int, int]
"""Columns and rows."""


@dataclass(frozen=True, slots=True)
class Slicing:
    """How one image is cut.

    overview: the size that the whole image is scaled to
    grid:     columns and rows of slices; None where the overview is all
    canvas:   the size that the image is scaled to before the grid is cut out of it; None without a grid
    """

    overview: Size
    grid: Grid | None = None
    canvas: Size | None = None

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The overview, then the slices row by row."""
        if self.grid is None or self.canvas is None:
            return (self.overview,)
        columns, rows = self.grid
        return (self.overview, *[(self.canvas[0] // columns, self.canvas[1] // rows)] * (columns * rows))


def plan_slices(size: Size, *, max_slices: int, side: int, patch: int) -> Slicing:
    """How an image of `size` is cut into at most `max_slices` slices of about `side` x `side` pixels.

    All sides are multiples of `patch` pixels. Raises ValueError unless `max_slices` is positive.
    """
    grid = choose_grid(size, max_slices=max_slices, side=side)
    overview = _fit_area(size, side=side, patch=patch)
    return Slicing(overview, grid, _canvas(size, grid, side=side, patch=patch) if grid else None)


def choose_grid(size: Size, *, max_slices: int, side: int) -> Grid | None:
    """The grid whose shape is nearest to the image's, by the logarithm of width over height; None for one slice.

    The numbers of slices tried are the image's area in slices, one fewer and one more. Of equally near grids the one
    with fewer slices, then with fewer columns, is taken.
    """
    if max_slices < 1:
        raise ValueError(f"max_slice_nums is {max_slices}; it must be 1 or more")
    width, height = size
    wanted = min(math.ceil(width * height / (side * side)), max_slices)
    if wanted <= 1:
        return None
    shape = math.log(width / height)
    return min(_grids(wanted, max_slices), key=lambda grid: abs(shape - math.log(grid[0] / grid[1])))


def _grids(wanted: int, max_slices: int) -> Iterator[Grid]:
    for number in (wanted - 1, wanted, wanted + 1):
        if number != 1 and number <= max_slices:
            yield from ((columns, number // columns) for columns in range(1, number + 1) if number % columns == 0)


def _canvas(size: Size, grid: Grid, *, side: int, patch: int) -> Size:
    """The size of all slices together: each as near to `side` x `side` pixels in area as its patches allow."""
    columns, rows = grid
    cell = (_multiple(size[0], columns) / columns, _multiple(size[1], rows) / rows)
    width, height = _fit_area(cell, side=side, patch=patch)
    return width * columns, height * rows


def _fit_area(size: tuple[float, float], *, side: int, patch: int) -> Size:
    """`size` scaled to an area of `side` x `side` in its own shape, then to whole patches."""
    shape = size[0] / size[1]
    height = int(side / math.sqrt(shape))
    return _multiple(int(height * shape), patch), _multiple(height, patch)


def _multiple(length: float, unit: int) -> int:
    """The multiple of `unit` nearest to `length`, at least one `unit`; halves go to the even multiple."""
    return max(round(length / unit) * unit, unit)
