"""One micro-batch as a model is given it, and what its loss needs, known before it reaches a device.

Which positions are supervised is worked out here, on the CPU: to read it off a GPU's tensor makes the step wait.
Knows nothing of how examples became tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tunesmith.chat.message import RowSource
from tunesmith.data.encoding.encoded import IGNORED


@dataclass(frozen=True, slots=True)
class Batch:
    """What a model is given for one micro-batch: B rows of T tokens, or one sequence of several samples (B = 1).

    inputs:     keyword arguments of the model's forward: input_ids (B, T) int64, attention_mask (B, T) int64 where
                rows are padded or position_ids where samples are packed, token types, and the media tensors
    labels:     (B, T) int64, IGNORED outside the loss and on the first token of every sample; not shifted
    positions:  (N,) int64, the flat positions 0 … B·T - 1 whose next token is supervised
    targets:    (N,) int64, those next tokens
    num_tokens: tokens that are not padding
    sources:    where the examples stand, in order
    lengths:    of the samples of a packed sequence, in order; () for padded rows
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    positions: Tensor
    targets: Tensor
    num_tokens: int
    sources: tuple[RowSource, ...]
    lengths: tuple[int, ...] = ()

    @property
    def num_supervised(self) -> int:
        """Tokens that a causal loss is taken over."""
        return len(self.targets)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`, copied without waiting where the memory is pinned."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return self._with(Tensor.pin_memory)

    def completed(self, complete: Callable[[Mapping[str, Tensor], Sequence[int]], dict[str, Tensor]]) -> Batch:
        """The same batch with the inputs that `complete(inputs, lengths)` makes; itself where nothing is packed."""
        return replace(self, inputs=complete(self.inputs, self.lengths)) if self.lengths else self

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs={name: change(value) for name, value in self.inputs.items()},
            labels=change(self.labels),
            positions=change(self.positions),
            targets=change(self.targets),
        )


def build_batch(
    inputs: dict[str, Tensor],
    labels: Tensor,
    *,
    sources: Sequence[RowSource],
    num_tokens: int,
    lengths: Sequence[int] = (),
) -> Batch:
    """A batch on the CPU. The first label of a row is outside the loss whatever it says: nothing predicts it."""
    labels = labels.clone()
    labels[:, 0] = IGNORED
    supervised = labels.flatten()
    positions = torch.nonzero(supervised != IGNORED)[:, 0]
    return Batch(
        inputs=inputs,
        labels=labels,
        positions=positions - 1,
        targets=supervised[positions],
        num_tokens=num_tokens,
        sources=tuple(sources),
        lengths=tuple(lengths),
    )
