"""Where in a text the placeholders of media stand: the tokens between a start mark and its end mark.

Found from ids alone, so that neither a collator nor `generate` has to carry bounds. Knows nothing of pixels or sound.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs in a batch of texts.

    inside:  (B, T) bool, the tokens of all runs
    lengths: how many tokens each run has, row after row
    """

    inside: Tensor
    lengths: tuple[int, ...]


def find_runs(input_ids: Tensor, *, starts: Collection[int], ends: Collection[int]) -> Runs:
    """The runs between ids of `starts` and `ends` in input_ids (B, T).

    Raises ValueError where a run is not closed, or one opens inside another.
    """
    opening, closing = _is_any(input_ids, starts), _is_any(input_ids, ends)
    depth = opening.long().cumsum(-1) - closing.long().cumsum(-1)
    first, last = opening.flatten().nonzero()[:, 0], closing.flatten().nonzero()[:, 0]
    well_formed = bool(((depth >= 0) & (depth <= 1)).all() & (depth[:, -1] == 0).all()) if depth.numel() else True
    if not well_formed:
        raise ValueError(
            f"input_ids have {len(first)} marks that open an image or a sound and {len(last)} that close one, not in "
            "turns: a text was cut inside the tokens of a medium, or marks were written by hand"
        )
    return Runs(inside=(depth == 1) & ~opening, lengths=tuple((last - first - 1).tolist()))


def fill_runs(embeddings: Tensor, runs: Runs, features: Tensor, lengths: Sequence[int], *, what: str) -> Tensor:
    """(B, T, E) embeddings with the runs' tokens replaced by features (N, E), one piece of `lengths` tokens a run.

    Raises ValueError where runs and pieces differ in number or length; `what` names the media in it.
    """
    if len(runs.lengths) != len(lengths):
        raise ValueError(
            f"the text has {len(runs.lengths)} runs of placeholders for {what}, and {len(lengths)} were given: they "
            "must come from one call of the processor"
        )
    for number, (found, given) in enumerate(zip(runs.lengths, lengths, strict=True), start=1):
        if found != given:
            raise ValueError(
                f"run {number} of {len(lengths)} for {what} has {found} placeholders in the text and {given} features: "
                "they must come from one call of the processor"
            )
    return embeddings.masked_scatter(runs.inside[..., None], features.to(embeddings))


def _is_any(input_ids: Tensor, wanted: Collection[int]) -> Tensor:
    found = torch.zeros_like(input_ids, dtype=torch.bool)
    for token_id in wanted:
        found |= input_ids == token_id
    return found
