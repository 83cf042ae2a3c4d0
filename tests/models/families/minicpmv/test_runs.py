"""Placeholders are found between their marks, and only features that fit are put there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tunesmith.models.families.minicpmv.runs import Runs, fill_runs, find_runs

IMAGE, END_IMAGE, SLICE, END_SLICE, PAD, UNK = 1, 2, 3, 4, 0, 9


def runs_of(*rows: list[int]) -> Runs:
    return find_runs(torch.tensor(rows), starts=(IMAGE, SLICE), ends=(END_IMAGE, END_SLICE))


def test_runs_lie_between_the_marks_of_each_row() -> None:
    runs = runs_of(
        [PAD, 7, IMAGE, UNK, UNK, END_IMAGE, SLICE, UNK, UNK, UNK, END_SLICE],
        [IMAGE, UNK, END_IMAGE, 7, 7, 7, 7, 7, 7, 7, 7],
    )

    assert runs.lengths == (2, 3, 1)
    assert runs.inside.nonzero().tolist() == [[0, 3], [0, 4], [0, 7], [0, 8], [0, 9], [1, 1]]


def test_a_text_without_marks_has_none() -> None:
    runs = runs_of([7, 7, 7])

    assert runs.lengths == ()
    assert not runs.inside.any()


@pytest.mark.parametrize(
    "row", [[IMAGE, UNK, UNK], [7, END_IMAGE, 7], [IMAGE, SLICE, UNK, END_SLICE, END_IMAGE], [END_IMAGE, IMAGE]]
)
def test_marks_that_are_not_in_turns_are_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match="not in turns"):
        runs_of(row)


def test_features_take_the_places_in_order() -> None:
    features = torch.arange(1.0, 4.0)[:, None].expand(3, 2)

    filled = fill_runs(torch.zeros(1, 7, 2), THREE, features, [1, 2], what="images")

    assert filled[0, :, 0].tolist() == [0, 1, 0, 0, 2, 3, 0]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3], "has 2 runs of placeholders for images, and 1 were given"),
        ([2, 1], "run 1 of 2 for images has 1 placeholders in the text and 2 features"),
    ],
)
def test_features_that_do_not_fit_are_refused(lengths: list[int], message: str) -> None:
    features: Tensor = torch.ones(3, 2)

    with pytest.raises(ValueError, match=message):
        fill_runs(torch.zeros(1, 7, 2), THREE, features, lengths, what="images")


THREE = runs_of([IMAGE, UNK, END_IMAGE, SLICE, UNK, UNK, END_SLICE])
"""Three placeholders in two runs."""
