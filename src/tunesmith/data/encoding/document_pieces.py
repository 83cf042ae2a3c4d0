"""Where a document that is longer than cutoff_len is cut: never inside a medium, and without losing a token.

Pure functions of numbers of tokens.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from tunesmith.data.encoding.encoded import Piece
from tunesmith.data.encoding.spans import Span
from tunesmith.data.encoding.trace import RowTooLongError


def split_tokens(num_tokens: int, *, media: Sequence[Span], limit: int) -> tuple[Piece, ...]:
    """Pieces of at most `limit` tokens, each as long as it may be; () where one holds everything.

    media: the tokens of each medium, in order and apart from one another; a piece ends before one that does not fit
    Raises RowTooLongError for a medium of more than `limit` tokens.
    """
    if num_tokens <= limit:
        return ()
    starts = [start for start, _ in media]
    edges = [0]
    while num_tokens - edges[-1] > limit:
        edges.append(_next_cut(edges[-1], media, starts, limit=limit))
    if num_tokens - edges[-1] == 1 and edges[-1] - edges[-2] > 2 and not _is_inside(edges[-1] - 1, media, starts):
        edges[-1] -= 1  # a last token alone, the end token, would be predicted by nothing
    return tuple(
        Piece(end - start, bisect_left(starts, end) - bisect_left(starts, start))
        for start, end in pairwise([*edges, num_tokens])
    )


def _next_cut(start: int, media: Sequence[Span], starts: Sequence[int], *, limit: int) -> int:
    end = start + limit
    if not _is_inside(end, media, starts):
        return end
    number = bisect_right(starts, end) - 1
    first, behind = media[number]
    if first <= start:
        raise RowTooLongError(
            f"medium {number + 1} of the document takes {behind - first} tokens, cutoff_len is {limit}"
        )
    return first


def _is_inside(edge: int, media: Sequence[Span], starts: Sequence[int]) -> bool:
    """Whether tokens of one medium stand on both sides of `edge`."""
    number = bisect_right(starts, edge) - 1
    return number >= 0 and media[number][0] < edge < media[number][1]
