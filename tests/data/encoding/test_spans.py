"""Spans follow the text they mark, and find the tokens they cover."""

from __future__ import annotations

import numpy as np

from tunesmith.data.encoding.spans import runs_of, shift_spans, tokens_in


def test_spans_move_with_the_text_inserted_before_them() -> None:
    # "ab<X>cd<X>ef" with the first <X> becoming 1 character and the second 10
    text, placeholders, texts = "ab<X>cd<X>ef", [(2, 5), (7, 10)], ["1", "2" * 10]
    after = "ab1cd" + "2" * 10 + "ef"

    moved = shift_spans([(0, 2), (5, 7), (10, 12), (0, 12), *placeholders], replaced=placeholders, texts=texts)

    assert [after[slice(*span)] for span in moved] == ["ab", "cd", "ef", after, "1", "2" * 10]
    assert text[slice(*placeholders[0])] == "<X>"


def test_a_token_that_merges_characters_over_a_border_is_covered() -> None:
    offsets = np.array([[0, 2], [2, 5], [5, 6], [6, 9]])
    assert tokens_in(offsets, [(4, 6)]).tolist() == [False, True, True, False]


def test_tokens_without_characters_are_never_covered() -> None:
    offsets = np.array([[0, 0], [0, 2], [2, 2]])
    assert tokens_in(offsets, [(0, 2)]).tolist() == [False, True, False]


def test_no_spans_cover_nothing() -> None:
    assert not tokens_in(np.array([[0, 3]]), []).any()


def test_runs_are_maximal() -> None:
    assert runs_of(np.array([True, True, False, True, False])) == [(0, 2), (3, 4)]
    assert runs_of(np.array([], dtype=bool)) == []
