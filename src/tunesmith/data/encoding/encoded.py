"""What an example is once it is ids: light enough to keep by the million, media only by reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from tunesmith.chat.message import Media, MediaKind, RowSource
from tunesmith.data.store.address import RowRef

IGNORED = -100
"""Label of a position outside the loss."""


@dataclass(frozen=True, slots=True)
class RowMedia:
    """A medium that stands in the row itself, as bytes or a `data:` URI: the `number`th of the row's media, from 0.

    `Examples.media` reads the row again where it is needed, so that no Encoded carries pixels.
    """

    kind: MediaKind
    number: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One sample of a document: so many tokens of it, with so many of its media."""

    num_tokens: int
    num_media: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example after rendering, tokenising and truncation.

    input_ids:   (T,) int32, media placeholders expanded as the model's processor expands them
    labels:      (T,) int32, the id itself where supervised, IGNORED elsewhere; not shifted
    token_types: (T,) int8 or None, what the processor calls mm_token_type_ids (or token_type_ids)
    media:       references in the order of their placeholders
    truncated:   whether turns were cut to fit cutoff_len
    ref:         where to read the row again; None for conversations that came from no dataset
    branches:    tokens of each of several answers to one beginning, () for a plain row. The ids are then the beginning
                 once and the answers behind each other, as many as here; the beginning has every medium
    pieces:      of a document, where it is longer than cutoff_len: the samples it is cut into, () for one sample
    verdict:     whether the (first) answer was marked good; None where nobody has judged it
    """

    input_ids: np.ndarray
    labels: np.ndarray
    token_types: np.ndarray | None
    media: tuple[Media | RowMedia, ...]
    num_media_tokens: int
    truncated: bool
    source: RowSource
    ref: RowRef | None = None
    branches: tuple[int, ...] = ()
    pieces: tuple[Piece, ...] = ()
    verdict: bool | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """How many tokens a causal loss is taken over: supervised positions that have a token before them."""
        return sum(int((self.labels[start + 1 : end] != IGNORED).sum()) for start, end in self._edges)

    @property
    def num_shared(self) -> int:
        """Tokens of the beginning that all answers share; without branches all tokens."""
        return len(self) - sum(self.branches)

    @property
    def sample_lengths(self) -> tuple[int, ...]:
        """Tokens of each sample that the row makes: one, or the pieces of a document."""
        return tuple(piece.num_tokens for piece in self.pieces) or (len(self),)

    def samples(self) -> tuple[Encoded, ...]:
        """The row as the samples that batches are made of: itself, or each piece of a document with its own media."""
        if not self.pieces:
            return (self,)
        ends = accumulate(piece.num_media for piece in self.pieces)
        media = (self.media[end - piece.num_media : end] for piece, end in zip(self.pieces, ends, strict=True))
        return tuple(self._piece(*edges, tuple(items)) for edges, items in zip(self._edges, media, strict=True))

    @property
    def _edges(self) -> Iterator[tuple[int, int]]:
        """First token of each sample, and one past its last."""
        return pairwise(accumulate(self.sample_lengths, initial=0))

    def _piece(self, start: int, end: int, media: tuple[Media | RowMedia, ...]) -> Encoded:
        labels = self.labels[start:end]
        return replace(
            self,
            input_ids=self.input_ids[start:end],
            labels=labels,
            token_types=None if self.token_types is None else self.token_types[start:end],
            media=media,
            num_media_tokens=int((labels == IGNORED).sum()),  # all else of a document is in the loss
            pieces=(),
        )

    def answer(self, number: int) -> Encoded:
        """The beginning with the answer `number` alone, as a plain row."""
        assert self.branches, "only a row with several answers has parts"
        start = self.num_shared + sum(self.branches[:number])
        taken = np.r_[0 : self.num_shared, start : start + self.branches[number]]
        return replace(
            self,
            input_ids=self.input_ids[taken],
            labels=self.labels[taken],
            token_types=None if self.token_types is None else self.token_types[taken],
            branches=(),
        )
