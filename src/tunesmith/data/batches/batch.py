"""One micro-batch as a model is given it, and what its loss needs, known before it reaches a device.

Which positions are supervised is worked out here, on the CPU: to read it off a GPU's tensor makes the step wait.
Knows nothing of how examples became tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from tunesmith.chat.message import MediaKind, RowSource
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.store.address import RowRef
from tunesmith.models.packing.strands import strands_of

Branches = tuple[tuple[int, ...], ...]
CompleteInputs = Callable[[Mapping[str, Tensor], Sequence[int], Branches], dict[str, Tensor]]
"""The model's inputs of a packed sequence from (inputs, lengths, branches), as Batch has them."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Which supervised tokens make which answer: A answers, those of one row behind each other, row after row.

    owner:      (N,) int64, the answer of each of the batch's N supervised tokens
    ends:       (A,) int64, the flat position of each answer's last token (its end-of-turn text included)
    num_tokens: supervised tokens of each answer
    verdicts:   (A,) bool, whether the answer was marked good; None for pairs
    reference:  (N,) float32 or float64, log-probability of each supervised token by the reference; None where it is not
                known yet
    """

    owner: Tensor
    ends: Tensor
    num_tokens: tuple[int, ...]
    verdicts: Tensor | None = None
    reference: Tensor | None = None

    def changed(self, change: Callable[[Tensor], Tensor]) -> Answers:
        """The same with every tensor changed."""
        return replace(
            self,
            owner=change(self.owner),
            ends=change(self.ends),
            verdicts=None if self.verdicts is None else change(self.verdicts),
            reference=None if self.reference is None else change(self.reference),
        )

    def with_no_reference(self) -> Answers:
        """The same with zero for every log-probability by the reference."""
        return replace(self, reference=torch.zeros(len(self.owner)))


@dataclass(frozen=True, slots=True)
class Batch:
    """What a model is given for one micro-batch: B rows of T tokens, or one sequence of several samples (B = 1).

    inputs:     keyword arguments of the model's forward: input_ids (B, T) int64, attention_mask (B, T) int64 where
                rows are padded or position_ids where samples are packed, token types, and the media tensors
    labels:     (B, T) int64, IGNORED outside the loss and on the first token of every sample; not shifted
    positions:  (N,) int64, the flat positions 0 … B·T - 1 whose next token is supervised; where a sample has several
                answers, the last position of its beginning has several next tokens
    targets:    (N,) int64, those next tokens
    num_tokens: tokens that are not padding
    sources:    where the examples stand, in order
    lengths:    of the samples of a packed sequence, in order; () for padded rows
    branches:   for each sample of a packed sequence the tokens of its several answers, which do not see each other, ()
                for a plain one; () altogether where no sample has any
    answers:    for stages that compare whole answers
    mismatched: KTO: the same prompts, each with the answer of another row
    refs:       where the rows can be read again, for each example of the batch
    is_filler:  whether it only keeps a process in step with the others: its loss is multiplied by zero, and it has no
                terms
    number:     of the micro-batch in its step, from 0, the same for any number of processes
    samples:    what it was made of, without those of no row; the same can be made of some of them
    kinds:      the kinds of media that it must have to keep in step with other processes; None where it need not
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    positions: Tensor
    targets: Tensor
    num_tokens: int
    sources: tuple[RowSource, ...]
    lengths: tuple[int, ...] = ()
    branches: Branches = ()
    answers: Answers | None = None
    mismatched: Batch | None = None
    refs: tuple[RowRef | None, ...] = ()
    is_filler: bool = False
    number: int = 0
    samples: tuple[Encoded, ...] = ()
    kinds: frozenset[MediaKind] | None = None

    @property
    def num_supervised(self) -> int:
        """Tokens that a causal loss is taken over."""
        return len(self.targets)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`, copied without waiting where the memory is pinned."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return self._changed(Tensor.pin_memory)

    def completed(self, complete: CompleteInputs) -> Batch:
        """The same batch with the inputs that `complete` makes of packed samples; itself where nothing is packed."""
        if not self.lengths:
            return self
        mismatched = None if self.mismatched is None else self.mismatched.completed(complete)
        return replace(self, inputs=complete(self.inputs, self.lengths, self.branches), mismatched=mismatched)

    def with_no_reference(self) -> Batch:
        """The same with zero for every log-probability by the reference."""
        mismatched = None if self.mismatched is None else self.mismatched.with_no_reference()
        answers = None if self.answers is None else self.answers.with_no_reference()
        return replace(self, answers=answers, mismatched=mismatched)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same with every tensor changed; one that stands in several places is changed once (KTO's media)."""
        return self._with(cache(change))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs={name: change(value) for name, value in self.inputs.items()},
            labels=change(self.labels),
            positions=change(self.positions),
            targets=change(self.targets),
            answers=None if self.answers is None else self.answers.changed(change),
            mismatched=None if self.mismatched is None else self.mismatched._with(change),
        )


def build_batch(
    inputs: dict[str, Tensor],
    labels: Tensor,
    *,
    sources: Sequence[RowSource],
    num_tokens: int,
    lengths: Sequence[int] = (),
    branches: Branches = (),
) -> Batch:
    """A batch on the CPU. The first label of a row is outside the loss whatever it says: nothing predicts it."""
    labels = labels.clone()
    labels[:, 0] = IGNORED
    supervised = labels.flatten()
    supervised_at = torch.nonzero(supervised != IGNORED)[:, 0]
    return Batch(
        inputs=inputs,
        labels=labels,
        positions=_predictors(supervised_at, lengths, branches),
        targets=supervised[supervised_at],
        num_tokens=num_tokens,
        sources=tuple(sources),
        lengths=tuple(lengths),
        branches=branches,
    )


def _predictors(tokens: Tensor, lengths: Sequence[int], branches: Branches) -> Tensor:
    """(N,) the positions that predict the `tokens`: the one before, or the end of a beginning that answers share."""
    if not branches:
        return tokens - 1
    before = torch.arange(-1, sum(lengths) - 1)
    for strand in strands_of(lengths, branches):
        if strand.shared:
            before[strand.start] = strand.root + strand.shared - 1
    return before[tokens]
