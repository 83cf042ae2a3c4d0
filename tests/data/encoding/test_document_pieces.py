"""Cuts of a document: never inside a medium, and every token in exactly one piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.data.encoding.document_pieces import split_tokens
from tunesmith.data.encoding.encoded import Piece
from tunesmith.data.encoding.trace import RowTooLongError


def lengths(num_tokens: int, limit: int, *media: tuple[int, int]) -> list[int]:
    return [piece.num_tokens for piece in split_tokens(num_tokens, media=media, limit=limit)]


def test_what_fits_is_not_cut() -> None:
    assert split_tokens(10, media=[(3, 7)], limit=10) == ()


def test_pieces_are_as_long_as_they_may_be() -> None:
    assert lengths(25, 10) == [10, 10, 5]
    assert lengths(20, 10) == [10, 10]


def test_a_piece_ends_before_a_medium_that_does_not_fit() -> None:
    assert split_tokens(25, media=[(0, 3), (8, 12), (12, 22)], limit=10) == (
        Piece(8, 1),
        Piece(4, 1),
        Piece(10, 1),
        Piece(3, 0),
    )
    assert lengths(20, 10, (2, 10), (10, 20)) == [10, 10]


def test_an_end_token_is_not_left_alone_where_nothing_would_predict_it() -> None:
    assert lengths(21, 10) == [10, 9, 2]
    assert lengths(21, 10, (10, 20)) == [10, 10, 1]  # the medium may not be cut
    assert lengths(5, 2) == [2, 2, 1]  # a piece of one token more would be won by losing one


def test_a_medium_longer_than_a_piece_is_named_with_its_length() -> None:
    with pytest.raises(RowTooLongError, match="medium 2 of the document takes 11 tokens, cutoff_len is 10"):
        split_tokens(40, media=[(3, 5), (20, 31)], limit=10)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=20), st.integers(0, 40), st.integers(10, 30)
)
def test_every_token_and_medium_is_in_one_piece(stretches: list[tuple[int, int]], rest: int, limit: int) -> None:
    media, position = [], 0
    for text, medium in stretches:
        media.append((position + text, position + text + medium))
        position += text + medium
    pieces = split_tokens(position + rest, media=media, limit=limit) or (Piece(position + rest, len(media)),)

    assert sum(piece.num_tokens for piece in pieces) == position + rest
    assert sum(piece.num_media for piece in pieces) == len(media)
    start = number = 0
    for piece in pieces:
        assert len(pieces) == 1 or 1 <= piece.num_tokens <= limit
        inside = media[number : number + piece.num_media]
        assert all(start <= first and end <= start + piece.num_tokens for first, end in inside)
        start, number = start + piece.num_tokens, number + piece.num_media
