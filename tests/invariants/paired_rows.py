"""Pairs for every kind of tiny model, as batches: behind one beginning, or every answer by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.data.conversations import assistant
from tests.invariants.packed_rows import WITHOUT_TEMPLATE, Given
from tunesmith.config.data import DataSettings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.models.packing.positions import find_axis_positions
from tunesmith.models.packing.proof import Packing
from tunesmith.models.packing.split_attention import samples_apart

REJECTED = ("it is 2, and a longer answer than the chosen one", "no", "f, or not f?")


@dataclass(frozen=True)
class GivenPairs(Given):
    """The rows of `Given`, each with a second answer, and two more pairs cut from their ids by hand."""

    @cached_property
    def examples(self) -> list[Encoded]:
        data = DataSettings(cutoff_len=100_000, template=WITHOUT_TEMPLATE.get(self.kind))
        encoder = Encoder(self.preprocessor, build_template(self.preprocessor, data, "pairs"), data, "pairs")
        pairs = [
            encoder.encode(replace(row, other_answer=assistant(other)))
            for row, other in zip(self.rows, REJECTED, strict=True)
        ]
        return [*pairs, _one_token_answers(pairs[1]), _differing_headers(pairs[0])]

    def collator(self, *, packed: bool, shared: bool = False) -> Collator:
        return Collator(self.preprocessor, MediaInputs(self.preprocessor), packed=packed, shared=shared)

    def pairs(self, model: nn.Module, chosen: Sequence[int], *, packed: bool, shared: bool = False) -> Batch:
        """The chosen pairs in one batch."""
        examples = [self.examples[index] for index in chosen]
        batch = self.collator(packed=packed, shared=shared)(examples, [self.media_of(example) for example in examples])
        return _ready(batch, model)

    def alone(self, model: nn.Module, index: int, number: int) -> Batch:
        """One answer of a pair as a plain row."""
        example = self.examples[index].answer(number)
        return _ready(self.collator(packed=False)([example], [self.media_of(example)]), model)

    def weights(self, index: int) -> list[Tensor]:
        """What the loss multiplies the log-probability of every supervised token with, for each answer of a pair."""
        generator = torch.Generator().manual_seed(index)
        answers = [self.examples[index].answer(number) for number in (0, 1)]
        return [torch.randn(answer.num_supervised, generator=generator, dtype=torch.float64) for answer in answers]


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    """(B, T, V), samples and answers kept apart."""
    with samples_apart(batch.lengths, batch.branches):
        logits: Tensor = model(**batch.inputs, use_cache=False).logits
    return logits


@contextmanager
def float64_throughout(model: nn.Module) -> Iterator[None]:
    """Inside, what the model computes in float32 whatever its weights' format (norms, rotations) is in float64 too.

    Else a gradient that two answers add up before such a norm is rounded once, and twice where they are apart.
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.dtype == torch.float32:
                module.register_buffer(name, buffer.double(), persistent=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch, "float", torch.float64)
        patch.setattr(Tensor, "float", Tensor.double)
        yield


def weighted(model: nn.Module, batches: Sequence[Batch], weights: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities of every supervised token of the batches, and all gradients of their weighted sum."""
    model.zero_grad()
    found = []
    for batch, weight in zip(batches, weights, strict=True):
        with float64_throughout(model):
            logits = logits_of(model, batch).flatten(0, 1)
            chosen = torch.log_softmax(logits[batch.positions], dim=-1)
            log_probabilities = chosen.gather(1, batch.targets[:, None])[:, 0]
            (log_probabilities @ weight).backward()
        found.append(log_probabilities.detach())
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return torch.cat(found), gradients


def assert_same(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> None:
    """Log-probabilities and gradients equal but for the rounding of float64."""
    assert (one[0] - other[0]).abs().max() <= 1e-13 * one[0].abs().max()
    assert one[1].keys() == other[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in one[1].values())
    for name, gradient in one[1].items():  # some are 0 but for rounding: softmax does not see a bias of the keys
        assert (gradient - other[1][name]).abs().max() <= 1e-12 * gradient.abs().max() + 1e-15 * largest, name


def _ready(batch: Batch, model: nn.Module) -> Batch:
    """In float64, completed for split attention where it is packed."""
    batch = batch.completed(Packing(splits=True, axes=find_axis_positions(model)))
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in batch.inputs.items()}
    return replace(batch, inputs=inputs)


def _one_token_answers(pair: Encoded) -> Encoded:
    """The first supervised token of the chosen answer against the last of the rejected one."""
    beginning, chosen = pair.num_shared, pair.branches[0]
    first = beginning + int(np.argmax(pair.labels[beginning : beginning + chosen] != IGNORED))
    last = int(np.flatnonzero(pair.labels != IGNORED)[-1])
    return _taking(pair, np.r_[0:beginning, first, last], branches=(1, 1))


def _differing_headers(pair: Encoded) -> Encoded:
    """The beginning ends two tokens earlier, which stand in both answers then; the second answer's are changed."""
    beginning, (chosen, rejected) = pair.num_shared, pair.branches
    header = np.r_[beginning - 2 : beginning]
    taken = np.r_[0:beginning, beginning : beginning + chosen, header, beginning + chosen : len(pair)]
    moved = _taking(pair, taken, branches=(chosen + 2, rejected + 2))
    ids = moved.input_ids.copy()
    start = beginning + chosen
    ids[start : start + 2] = ids[start : start + 2][::-1]
    return replace(moved, input_ids=ids)


def _taking(pair: Encoded, taken: np.ndarray, *, branches: tuple[int, ...]) -> Encoded:
    return replace(
        pair,
        input_ids=pair.input_ids[taken],
        labels=pair.labels[taken],
        token_types=None if pair.token_types is None else pair.token_types[taken],
        branches=branches,
    )
