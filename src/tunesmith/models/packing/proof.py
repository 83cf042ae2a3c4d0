"""Whether a model keeps the samples of one packed sequence apart: tried on real examples, never assumed.

A model is given two samples as one sequence, and each alone; the hidden states before its head must be the same. They
must also differ clearly when the two are run as one text, or the comparison would have shown nothing. Whatever carries
something from one sample into the next fails here: recurrent states, convolutions, positions of the whole sequence.
Likewise for two answers behind one beginning, against the beginning with each of them by itself.
Knows nothing of rows, collation or training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tunesmith.models.head import find_output_embedding, observe_hidden_states
from tunesmith.models.mode import evaluation_mode
from tunesmith.models.packing.positions import AxisPositions, find_axis_positions
from tunesmith.models.packing.split_attention import restore_attention, samples_apart, split_attention
from tunesmith.models.packing.strands import strands_of
from tunesmith.models.parts import core_model

_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 2e-2}
"""Largest error of a token's hidden state, relative to its norm. Norms compute in float32 even in float64 models."""
_ROUNDING = 2.0
"""How many times the error of padding the error of packing may be: both round, and so move tokens between experts."""
_CONTRAST = 4.0
"""How many times the error the samples' effect on each other must be, when they are run as one text."""

_Inputs = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Packing:
    """How one model takes packed sequences.

    splits: by attention that runs sample after sample (`split_attention`); else transformers finds the samples by their
            positions, for FlashAttention or as a mask over the whole sequence
    axes:   the model's positions where they have several axes
    shares: whether several answers to one beginning may stand behind it once (`prove_sharing`)
    """

    splits: bool
    axes: AxisPositions | None
    shares: bool = False

    def __call__(
        self, inputs: _Inputs, lengths: Sequence[int], branches: Sequence[tuple[int, ...]] = ()
    ) -> dict[str, Tensor]:
        """The model's inputs for a packed sequence on the CPU: position_ids as it wants them, a mask if it splits."""
        completed = dict(inputs)
        if self.axes is not None:
            completed["position_ids"] = self.axes(inputs, lengths, branches)
        if self.splits:
            completed["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return completed


@dataclass(frozen=True, slots=True)
class PackingUnproven:
    """Why rows have to be padded instead."""

    reason: str


@dataclass(frozen=True, slots=True)
class Trial:
    """Inputs of two samples, or of one sample with two answers, on the CPU.

    lengths:  of the samples; branches: tokens of the answers, where there are two
    packed:   one sequence, with position_ids (1, T) that restart
    padded:   two rows, the shorter one padded on its right
    alone:    each by itself
    """

    lengths: tuple[int, ...]
    packed: _Inputs
    padded: _Inputs
    alone: tuple[_Inputs, _Inputs]
    branches: tuple[tuple[int, ...], ...] = ()


def prove_packing(model: nn.Module, trial: Trial, *, may_split: bool = True) -> Packing | PackingUnproven:
    """How `model` packs, or why it cannot; the model is ready for it afterwards, or as it was.

    may_split: False for compiled layers, which a loop over samples would compile anew for every batch

    Call it under the training's autocast. Raises torch.OutOfMemoryError.
    """
    if core_model(model).config.get_text_config().to_dict().get("attention_chunk_size"):
        return PackingUnproven("its attention counts chunks from the beginning of the sequence")
    axes = find_axis_positions(model)
    reasons = []
    if may_split and split_attention(model):
        reasons.append(_try(model, trial, Packing(splits=True, axes=axes)))
        if reasons[0] is None:
            return Packing(splits=True, axes=axes)
        restore_attention(model)
    reasons.append(_try(model, trial, Packing(splits=False, axes=axes)))
    if reasons[-1] is None:
        return Packing(splits=False, axes=axes)
    return PackingUnproven(reasons[0] or reasons[-1])


def prove_sharing(model: nn.Module, packing: Packing, trial: Trial) -> Packing | PackingUnproven:
    """`packing` that shares, or why `model` cannot be given two answers behind one beginning.

    trial: of one sample with two answers

    Call it under the training's autocast. Raises torch.OutOfMemoryError.
    """
    if not packing.splits:
        attention = core_model(model).config._attn_implementation
        return PackingUnproven(f"its attention, {attention}, runs over the whole sequence at once")
    sharing = replace(packing, shares=True)
    reason = _try(model, trial, sharing)
    return sharing if reason is None else PackingUnproven(reason)


def _try(model: nn.Module, trial: Trial, packing: Packing) -> str | None:
    """Why the trial failed, None if it did not."""
    head = find_output_embedding(model)
    if head is None:
        return "it names no output embedding"
    try:
        with evaluation_mode(model), torch.no_grad():
            return _compare(model, head, trial, packing)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        return f"it fails on a packed sequence: {error}"


def _compare(model: nn.Module, head: nn.Module, trial: Trial, packing: Packing) -> str | None:
    strands = strands_of(trial.lengths, trial.branches)
    alone = [_states(model, head, inputs)[0] for inputs in trial.alone]
    padded = _states(model, head, trial.padded)
    with samples_apart(trial.lengths if packing.splits else (), trial.branches):
        packed = _states(model, head, packing(trial.packed, trial.lengths, trial.branches))[0]
    as_one_text = {name: value for name, value in trial.packed.items() if name != "position_ids"}
    mixed = _states(model, head, as_one_text)[0]
    expected = [one[strand.shared :] for one, strand in zip(alone, strands, strict=True)]
    rounding = _distance([row[: len(one)] for row, one in zip(padded, alone, strict=True)], alone)
    error = _distance([packed[strand.start : strand.stop] for strand in strands], expected)
    effect = _distance([mixed[strands[1].start :]], expected[1:])
    if not error <= max(_TOLERANCE[_computed_in(packed)], _ROUNDING * rounding):
        return f"packed, a sample's hidden states change by {error:.1e} of their size (padded, by {rounding:.1e})"
    if not effect > _CONTRAST * error:
        return f"it could not be shown: packing changes hidden states by {error:.1e}, another sample by {effect:.1e}"
    return None


def _states(model: nn.Module, head: nn.Module, inputs: _Inputs) -> Tensor:
    """(B, T, H) what the head receives."""
    device = core_model(model).device
    moved = {name: value.to(device) for name, value in inputs.items()}
    return observe_hidden_states(model, head, {**moved, "use_cache": False})


def _distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest error of any token's (H,) state in the samples, relative to the state's norm."""
    return max(_largest_error(one.double(), other.double()) for one, other in zip(found, expected, strict=True))


def _largest_error(found: Tensor, expected: Tensor) -> float:
    norm = torch.linalg.vector_norm
    return float((norm(found - expected, dim=-1) / norm(expected, dim=-1)).max())


def _computed_in(states: Tensor) -> torch.dtype:
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
