"""Position ids of a packed sequence: every sample counts from 0, as it would alone, and each of its answers goes on
from where their beginning ends.

Models with several position axes (time, height, width: mRoPE, arXiv 2409.12191 §2.1) have a function of their own for
them, `get_rope_index`. It is called on the samples as one padded batch, so it shares out the media among them itself.
Runs on the CPU and touches no weight. Knows nothing of attention or of what a batch is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tunesmith.models.packing.strands import Strand, strands_of
from tunesmith.models.parts import core_model

_RENAMED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "second_per_grids": lambda inputs: inputs.get("video_second_per_grid"),
    "audio_seqlens": lambda inputs: _lengths_of(inputs.get("feature_attention_mask")),
}
"""Arguments of `get_rope_index` that models derive from inputs of another name."""


def restarting_positions(lengths: Sequence[int], branches: Sequence[tuple[int, ...]] = ()) -> Tensor:
    """(1, T) int64: 0, 1, … for each of the samples; the answers of one sample all begin with the same number."""
    strands = strands_of(lengths, branches)
    return torch.cat([torch.arange(strand.shared, strand.length) for strand in strands])[None]


@dataclass(frozen=True, slots=True)
class AxisPositions:
    """The positions of one model with several axes, by its own function."""

    rope_index: Callable[..., tuple[Tensor, Tensor]]

    def __call__(
        self, inputs: Mapping[str, Tensor], lengths: Sequence[int], branches: Sequence[tuple[int, ...]] = ()
    ) -> Tensor:
        """(1 + axes, 1, T) int64: the position in the sample's text, then on every axis.

        inputs: a packed sequence on the CPU, input_ids (1, T) and the media tensors of its samples in order; media
                stand in the beginnings alone where samples have several answers
        """
        strands = strands_of(lengths, branches)
        rows = {name: _rows(inputs[name], strands) for name in self._per_token(inputs)}
        mask = _rows(torch.ones_like(inputs["input_ids"]), strands)
        padded, _ = self.rope_index(**self._options(inputs), **rows, attention_mask=mask)  # (axes, samples, longest)
        axes = torch.cat(list(_unfolded(padded.to(torch.int64), strands)), dim=1)[:, None]
        return torch.cat([restarting_positions(lengths, branches)[None], axes])

    def _per_token(self, inputs: Mapping[str, Tensor]) -> list[str]:
        return [name for name in ("input_ids", "mm_token_type_ids") if name in inputs and name in self._parameters]

    def _options(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """What the function takes beside ids, their types and a mask."""
        given: dict[str, Any] = {
            name: inputs[name] for name in self._parameters if name in inputs and name not in self._per_token(inputs)
        }
        given.update({name: find(inputs) for name, find in _RENAMED.items() if name in self._parameters})
        return given

    @property
    def _parameters(self) -> Sequence[str]:
        return tuple(inspect.signature(self.rope_index).parameters)


def find_axis_positions(model: nn.Module) -> AxisPositions | None:
    """The positions of a model that has several axes of them; None where they are plain."""
    for module in core_model(model).modules():
        if hasattr(module, "get_rope_index"):
            rope_index: Any = module.get_rope_index
            return AxisPositions(rope_index)
    return None


def _rows(values: Tensor, strands: Sequence[Strand]) -> Tensor:
    """(1, T) values as (samples, longest): the beginning and first answer of each, zeros behind the shorter ones."""
    rows = [values[0, strand.start : strand.stop] for strand in strands if not strand.shared]
    return pad_sequence(rows, batch_first=True)


def _unfolded(rows: Tensor, strands: Sequence[Strand]) -> Iterator[Tensor]:
    """(axes, tokens) of each strand from (axes, samples, longest): text counts on alike on every axis."""
    number = -1
    for strand in strands:
        number += not strand.shared
        if strand.shared:
            yield rows[:, number, strand.shared, None] + torch.arange(strand.num_tokens)
        else:
            yield rows[:, number, : strand.num_tokens]


def _lengths_of(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.sum(-1)
