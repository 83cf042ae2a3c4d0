"""What an example is once it is ids: light enough to keep by the million, media only by reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunesmith.chat.message import Media, RowSource

IGNORED = -100
"""Label of a position outside the loss."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example after rendering, tokenising and truncation.

    input_ids:   (T,) int32, media placeholders expanded as the model's processor expands them
    labels:      (T,) int32, the id itself where supervised, IGNORED elsewhere; not shifted
    token_types: (T,) int8 or None, what the processor calls mm_token_type_ids (or token_type_ids)
    media:       references in the order of their placeholders
    truncated:   whether turns were cut to fit cutoff_len
    """

    input_ids: np.ndarray
    labels: np.ndarray
    token_types: np.ndarray | None
    media: tuple[Media, ...]
    num_media_tokens: int
    truncated: bool
    source: RowSource

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """How many tokens a causal loss is taken over: supervised positions that have a token before them."""
        return int((self.labels[1:] != IGNORED).sum())
