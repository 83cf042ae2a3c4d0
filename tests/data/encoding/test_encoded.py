"""The answers of a row as rows of their own."""

from __future__ import annotations

import numpy as np

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.encoding.encoded import IGNORED, Encoded

TREE = Encoded(
    input_ids=np.array([1, 2, 3, 40, 41, 50, 51, 52], np.int32),
    labels=np.array([IGNORED] * 3 + [40, IGNORED, 50, 51, IGNORED], np.int32),
    token_types=np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int8),
    media=(Media("image", "a.png"),),
    num_media_tokens=1,
    truncated=False,
    source=RowSource("rows.json", 4),
    branches=(2, 3),
    verdict=True,
)


def test_an_answer_follows_the_beginning_alone() -> None:
    first, second = TREE.answer(0), TREE.answer(1)
    assert first.input_ids.tolist() == [1, 2, 3, 40, 41] and second.input_ids.tolist() == [1, 2, 3, 50, 51, 52]
    assert first.labels.tolist() == [IGNORED] * 3 + [40, IGNORED]
    assert second.labels.tolist() == [IGNORED] * 3 + [50, 51, IGNORED]
    assert second.token_types is not None and second.token_types.tolist() == [0, 1, 0, 0, 0, 0]
    assert (second.media, second.source, second.verdict, second.branches) == (TREE.media, TREE.source, True, ())


def test_counts_are_of_the_tree() -> None:
    assert (len(TREE), TREE.num_shared, TREE.num_supervised) == (8, 3, 3)
    assert TREE.answer(1).num_supervised == 2
