"""Examples → one batch of tensors: one sequence of samples without padding, or rows padded on the right.

Runs in the loader's workers. Media tensors are `media_inputs`' work; every sample of a packed sequence is a row of its
own to it, because processors treat one picture and several in a row differently (LLaVA-OneVision). Knows nothing of
epochs, steps, or how a model keeps the samples of a sequence apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.batches.batch import Batch, build_batch
from tunesmith.data.batches.media_inputs import MediaInputs, MediaRow
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.models.packing.positions import restarting_positions
from tunesmith.models.preprocessing.processor import Preprocessor

__all__ = ["Batch", "Collator"]


class Collator:
    """Builds batches for one model; `packed` lays the examples of a batch end to end in one sequence."""

    def __init__(self, preprocessor: Preprocessor, media_inputs: MediaInputs, *, packed: bool) -> None:
        self.packed = packed
        self._media_inputs = media_inputs
        self._types_name = learn_outputs(preprocessor).types_name
        pad_id = preprocessor.tokenizer.pad_token_id
        self._pad_id = 0 if pad_id is None else int(pad_id)

    def __call__(self, examples: Sequence[Encoded], media: Sequence[Sequence[Media]]) -> Batch:
        """`media`: what the references of each example stand for. Raises DataError, naming the row, if unreadable."""
        rows = [tuple((item, example.source) for item in items) for example, items in zip(examples, media, strict=True)]
        return self._pack(examples, rows) if self.packed else self._pad(examples, rows)

    def _pack(self, examples: Sequence[Encoded], rows: Sequence[_Items]) -> Batch:
        lengths = [len(example) for example in examples]
        labels = _joined([example.labels for example in examples])
        labels[0, np.cumsum([0, *lengths[:-1]])] = IGNORED  # nothing of its own sample stands before it
        types = [example.token_types for example in examples if example.token_types is not None]
        inputs = {
            "input_ids": _joined([example.input_ids for example in examples]),
            "position_ids": restarting_positions(lengths),
            **self._named_types(_joined(types) if types else None),
            **self._media_inputs([MediaRow(row) for row in rows]),
        }
        sources = [example.source for example in examples]
        return build_batch(inputs, labels, sources=sources, num_tokens=sum(lengths), lengths=lengths)

    def _pad(self, examples: Sequence[Encoded], rows: Sequence[_Items]) -> Batch:
        types = [example.token_types for example in examples if example.token_types is not None]
        inputs = {
            "input_ids": _padded([example.input_ids for example in examples], fill=self._pad_id),
            "attention_mask": _padded([np.ones(len(example), dtype=np.int64) for example in examples], fill=0),
            **self._named_types(_padded(types, fill=0) if types else None),
            **self._media_inputs([MediaRow(row) for row in rows]),
        }
        return build_batch(
            inputs,
            _padded([example.labels for example in examples], fill=IGNORED),
            sources=[example.source for example in examples],
            num_tokens=sum(len(example) for example in examples),
        )

    def _named_types(self, types: Tensor | None) -> dict[str, Tensor]:
        return {self._types_name: types} if self._types_name is not None and types is not None else {}


_Items = tuple[tuple[Media, RowSource], ...]


def _joined(rows: Sequence[np.ndarray]) -> Tensor:
    """(1, T) int64, the rows end to end."""
    return torch.from_numpy(np.concatenate(rows).astype(np.int64))[None]


def _padded(rows: Sequence[np.ndarray], *, fill: int) -> Tensor:
    """(B, T) int64, T the longest of `rows`, `fill` behind the shorter ones."""
    padded = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded)
