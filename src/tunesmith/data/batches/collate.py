"""Examples → one batch of tensors: one sequence of samples without padding, or rows padded on the right.

An example with several answers becomes one sample whose answers share their beginning (`shared`), or as many samples or
rows as it has answers; a judged one (KTO) a sample of its answer, and one of the other answer in the batch's
`mismatched`. Samples of no row (`ballast`) lie behind all others and are counted nowhere. Runs in the loader's workers.
Media tensors are `media_inputs`' work; every sample of a packed sequence is a row of its own to it, because processors
treat one picture and several in a row differently (LLaVA-OneVision). Knows nothing of epochs, steps, or how a model
keeps the samples of a sequence apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tunesmith.chat.message import Media
from tunesmith.data.batches.answers import find_answers
from tunesmith.data.batches.ballast import NO_ROW
from tunesmith.data.batches.batch import Batch, build_batch
from tunesmith.data.batches.media_inputs import MediaInputs, MediaRow
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.models.packing.positions import restarting_positions
from tunesmith.models.packing.strands import strands_of
from tunesmith.models.preprocessing.processor import Preprocessor

__all__ = ["Batch", "Collator"]


class Collator:
    """Builds batches for one model; `packed` lays the examples of a batch end to end in one sequence.

    shared: whether several answers to one beginning are laid behind it once; only where it is `packed`
    """

    def __init__(
        self, preprocessor: Preprocessor, media_inputs: MediaInputs, *, packed: bool, shared: bool = False
    ) -> None:
        self.packed = packed
        self.shared = packed and shared
        self._media_inputs = media_inputs
        self._types_name = learn_outputs(preprocessor).types_name
        pad_id = preprocessor.tokenizer.pad_token_id
        self._pad_id = 0 if pad_id is None else int(pad_id)

    def __call__(self, examples: Sequence[Encoded], media: Sequence[Sequence[Media]]) -> Batch:
        """`media`: what the references of each example stand for. Carriers come last.

        Raises DataError, naming the row, if media cannot be read.
        """
        rows = [
            MediaRow(tuple((item, example.source) for item in items))
            for example, items in zip(examples, media, strict=True)
        ]
        if not any(example.branches for example in examples):
            batch = self._join(examples, self._media_inputs(rows))
        elif any(example.verdict is not None for example in examples):
            batch = self._judged(examples, self._media_inputs(rows))
        else:
            batch = self._compared(examples, rows)
        return replace(
            batch,
            sources=tuple(example.source for example in examples if _is_row(example)),
            refs=tuple(example.ref for example in examples if _is_row(example)),
        )

    def _judged(self, examples: Sequence[Encoded], media: dict[str, Tensor]) -> Batch:
        """The first answer of each example, and the second in `mismatched`."""
        first, second = ([_answers_of(example)[number] for example in examples] for number in (0, -1))
        judged = [example for example in examples if example.branches]
        verdicts = [bool(example.verdict) for example in judged]
        batch = self._answered(first, media, num_answers=len(judged), verdicts=verdicts)
        return replace(batch, mismatched=self._answered(second, media, num_answers=len(judged)))

    def _compared(self, examples: Sequence[Encoded], rows: Sequence[MediaRow]) -> Batch:
        """Every answer of each example: behind one beginning, or by itself with a beginning and media of its own."""
        laid = list(zip(examples, rows, strict=True))
        if not self.shared:
            laid = [(answer, row) for example, row in laid for answer in _answers_of(example)]
        return self._answered(
            [part for part, _ in laid],
            self._media_inputs([row for _, row in laid]),
            num_answers=sum(len(example.branches) for example in examples),
        )

    def _answered(
        self,
        examples: Sequence[Encoded],
        media: dict[str, Tensor],
        *,
        num_answers: int,
        verdicts: Sequence[bool] | None = None,
    ) -> Batch:
        """The examples in one batch that knows their answers, one of each unless they share a beginning."""
        batch = self._join(examples, media)
        ends = _ends(batch, examples)[:num_answers]  # behind them lie carriers, which have none
        return replace(batch, answers=find_answers(batch.labels, ends=ends, verdicts=verdicts))

    def _join(self, examples: Sequence[Encoded], media: dict[str, Tensor]) -> Batch:
        return self._pack(examples, media) if self.packed else self._pad(examples, media)

    def _pack(self, examples: Sequence[Encoded], media: dict[str, Tensor]) -> Batch:
        lengths = [len(example) for example in examples]
        branches = tuple(example.branches for example in examples) if any(e.branches for e in examples) else ()
        labels = _joined([example.labels for example in examples])
        first = [strand.start for strand in strands_of(lengths, branches) if not strand.shared]
        labels[0, first] = IGNORED  # nothing of its own sample stands before it
        types = [example.token_types for example in examples if example.token_types is not None]
        inputs = {
            "input_ids": _joined([example.input_ids for example in examples]),
            "position_ids": restarting_positions(lengths, branches),
            **self._named_types(_joined(types) if types else None),
            **media,
        }
        sources = [example.source for example in examples]
        num_tokens = _count_tokens(examples)
        return build_batch(inputs, labels, sources=sources, num_tokens=num_tokens, lengths=lengths, branches=branches)

    def _pad(self, examples: Sequence[Encoded], media: dict[str, Tensor]) -> Batch:
        types = [example.token_types for example in examples if example.token_types is not None]
        inputs = {
            "input_ids": _padded([example.input_ids for example in examples], fill=self._pad_id),
            "attention_mask": _padded([np.ones(len(example), dtype=np.int64) for example in examples], fill=0),
            **self._named_types(_padded(types, fill=0) if types else None),
            **media,
        }
        return build_batch(
            inputs,
            _padded([example.labels for example in examples], fill=IGNORED),
            sources=[example.source for example in examples],
            num_tokens=_count_tokens(examples),
        )

    def _named_types(self, types: Tensor | None) -> dict[str, Tensor]:
        return {self._types_name: types} if self._types_name is not None and types is not None else {}


def _is_row(example: Encoded) -> bool:
    return example.source != NO_ROW


def _count_tokens(examples: Sequence[Encoded]) -> int:
    return sum(len(example) for example in examples if _is_row(example))


def _answers_of(example: Encoded) -> tuple[Encoded, ...]:
    """Each answer with the beginning before it; of a plain example itself."""
    return tuple(example.answer(number) for number in range(len(example.branches))) or (example,)


def _ends(batch: Batch, examples: Sequence[Encoded]) -> list[int]:
    """The flat position of the last token of each answer of a batch of `examples`, each with one answer or several."""
    if batch.lengths:
        return [strand.stop - 1 for strand in strands_of(batch.lengths, batch.branches)]
    width = batch.labels.shape[1]
    return [number * width + len(example) - 1 for number, example in enumerate(examples)]


def _joined(rows: Sequence[np.ndarray]) -> Tensor:
    """(1, T) int64, the rows end to end."""
    return torch.from_numpy(np.concatenate(rows).astype(np.int64))[None]


def _padded(rows: Sequence[np.ndarray], *, fill: int) -> Tensor:
    """(B, T) int64, T the longest of `rows`, `fill` behind the shorter ones."""
    padded = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded)
