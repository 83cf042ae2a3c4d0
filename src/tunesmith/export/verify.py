"""Is the export the model that was trained? Both are loaded and asked the same, and their logits compared.

Never claims what was not measured: where memory does not allow it, the verdict says so.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tunesmith.data.batches.batch import Batch
from tunesmith.export.merge import build_skeleton
from tunesmith.infer.open import open_weights
from tunesmith.infer.source import ModelSource
from tunesmith.models.score_head import score_head, scores_at

_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference taken for rounding, as a share of the largest logit, by the format the export is stored in.

float32 leaves a few units of 2^-24 a layer; transformers' norms compute in it even where the weights are float64. In 16
bits every merged weight is rounded once, by up to 2^-11 or 2^-8 of itself.
"""

_HEADROOM = 1.25
"""Memory of a loaded model over that of its weights: adapters, activations, and reading the files."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison found. `difference` and the rest are None where it was not made, for `reason`."""

    difference: float | None
    scale: float | None = None
    effect: float | None = None
    tolerance: float | None = None
    probe: str = ""
    reason: str = ""

    @property
    def matches(self) -> bool | None:
        """Whether the two are equal but for rounding; None if they were not compared."""
        if self.difference is None or self.scale is None or self.tolerance is None:
            return None
        return self.difference <= self.tolerance * self.scale

    def __str__(self) -> str:
        if self.difference is None:
            return f"not verified: {self.reason}"
        effect = "" if self.effect is None else f" (the adapter moves them by up to {self.effect:.3g})"
        verdict = (
            "they match" if self.matches else f"more than rounding, which is {self.tolerance:.0e} of {self.scale:.3g}"
        )
        return f"verified on {self.probe}: logits differ by at most {self.difference:.2g}{effect}; {verdict}"


def verify(
    original: ModelSource,
    exported: ModelSource,
    *,
    batch: Batch,
    probe: str,
    dtype: torch.dtype,
    free_bytes: int | None,
) -> Verdict:
    """Compare the logits of the two models on `batch`, called `probe`.

    `dtype` is the format of the exported weights, `free_bytes` the memory there is for a model (None: not known).

    Computes in float32 (float64 for float64 weights) where there is room, with one model in memory at a time.
    """
    compute, reason = _compute_format(original, dtype, free_bytes)
    if compute is None:
        return Verdict(None, reason=reason)
    expected, bare = _original_logits(original, batch, compute)
    gc.collect()
    actual = _logits(open_weights(exported, dtype=compute), batch)
    return Verdict(
        difference=_distance(actual, expected),
        scale=expected.abs().max().item(),
        effect=None if bare is None else _distance(expected, bare),
        tolerance=_TOLERANCE[dtype],
        probe=probe,
    )


def _compute_format(source: ModelSource, stored: torch.dtype, free_bytes: int | None) -> tuple[torch.dtype | None, str]:
    """The most exact format the model fits into memory in, or None and why."""
    if free_bytes is None:
        return None, "this system does not say how much memory is free"
    num_parameters = sum(parameter.numel() for parameter in build_skeleton(source.base).parameters())
    needed_bytes = 0
    for dtype in (torch.promote_types(stored, torch.float32), stored):
        needed_bytes = int(num_parameters * dtype.itemsize * _HEADROOM)
        if needed_bytes <= free_bytes:
            return dtype, ""
    return None, f"loading the model takes about {needed_bytes / 1e9:.2g} GB and {free_bytes / 1e9:.2g} GB are free"


def _original_logits(
    source: ModelSource, batch: Batch, compute: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(1, T, vocabulary) with the last adapter, and without it where there is one."""
    model = open_weights(source, dtype=compute)
    logits = _logits(model, batch)
    if not isinstance(model, PeftModel):
        return logits, None
    with model.disable_adapter():
        return logits, _logits(model, batch)


def _logits(model: PreTrainedModel | PeftModel, batch: Batch) -> torch.Tensor:
    """What the model is there for at every token: logits, or a reward model's scores, (T,)."""
    inputs = batch.to(model.device).inputs
    with torch.inference_mode():
        if score_head(model) is not None:
            every = torch.arange(inputs["input_ids"].numel(), device=model.device)
            return scores_at(model, inputs, every).double().cpu()
        logits: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits.double().cpu()


def _distance(first: torch.Tensor, second: torch.Tensor) -> float:
    width = min(first.shape[-1], second.shape[-1])
    return (first[..., :width] - second[..., :width]).abs().max().item()
