"""What an example is once it is ids: light enough to keep by the million, media only by reference."""

from __future__ import annotations

from dataclasses import dataclass

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
class Encoded:
    """One example after rendering, tokenising and truncation.

    input_ids:   (T,) int32, media placeholders expanded as the model's processor expands them
    labels:      (T,) int32, the id itself where supervised, IGNORED elsewhere; not shifted
    token_types: (T,) int8 or None, what the processor calls mm_token_type_ids (or token_type_ids)
    media:       references in the order of their placeholders
    truncated:   whether turns were cut to fit cutoff_len
    ref:         where to read the row again; None for conversations that came from no dataset
    """

    input_ids: np.ndarray
    labels: np.ndarray
    token_types: np.ndarray | None
    media: tuple[Media | RowMedia, ...]
    num_media_tokens: int
    truncated: bool
    source: RowSource
    ref: RowRef | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """How many tokens a causal loss is taken over: supervised positions that have a token before them."""
        return int((self.labels[1:] != IGNORED).sum())
