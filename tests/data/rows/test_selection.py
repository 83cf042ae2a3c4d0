"""Which rows are used, and in which file they stand."""

from __future__ import annotations

import pytest

from tunesmith.data.rows.selection import Selection, select_rows


def chosen(
    counts: list[int],
    *,
    name: str = "mine",
    num_samples: int | None = None,
    max_samples: int | None = None,
    seed: int = 1,
) -> Selection:
    return select_rows(counts, name=name, num_samples=num_samples, max_samples=max_samples, seed=seed)


def located(selection: Selection) -> list[tuple[int, int]]:
    return [selection.locate(index) for index in range(selection.num_rows)]


def test_rows_follow_one_another_over_files_with_and_without_rows() -> None:
    assert located(chosen([2, 0, 1])) == [(0, 0), (0, 1), (2, 0)]
    assert located(chosen([2, 0, 1], max_samples=2)) == [(0, 0), (0, 1)]
    assert located(chosen([])) == []


@pytest.mark.parametrize(("num_samples", "repeats"), [(3, 1), (5, 1), (12, 3)])
def test_a_draw_takes_every_row_before_any_twice(num_samples: int, repeats: int) -> None:
    first = located(chosen([2, 3], num_samples=num_samples))
    assert len(first) == num_samples
    assert len(set(first[:5])) == min(num_samples, 5)
    assert first == located(chosen([2, 3], num_samples=num_samples))
    assert first != located(chosen([2, 3], num_samples=num_samples, seed=2))
    assert first != located(chosen([2, 3], num_samples=num_samples, name="other"))


def test_at_most_so_many_of_a_draw() -> None:
    assert located(chosen([5], num_samples=4, max_samples=2)) == located(chosen([5], num_samples=4))[:2]


def test_rows_beyond_the_last_are_no_rows() -> None:
    for index in (-1, 3):
        with pytest.raises(IndexError, match="of 3"):
            chosen([3]).locate(index)
