"""In which number formats a run keeps its weights and computes.

| setting      | tuning        | frozen weights | trained weights | autocast | loss scaler |
|--------------|---------------|----------------|-----------------|----------|-------------|
| (neither)    | any           | float32        | float32         | none     | no          |
| `bf16`       | any           | bfloat16       | float32         | bfloat16 | no          |
| `fp16`       | any           | float16        | float32         | float16  | yes         |
| `pure_bf16`  | any           | bfloat16       | bfloat16        | none     | no          |

Trained weights are kept in float32 ("masters") so that small updates are not rounded away. What trains in full is
read from the checkpoint straight into float32; the base below an adapter is read in the frozen format.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError


@dataclass(frozen=True, slots=True)
class Precision:
    """Number formats of a run; `autocast` None means every operation runs in the weights' own format."""

    frozen: torch.dtype
    trained: torch.dtype
    autocast: torch.dtype | None
    scaler: bool

    @property
    def compute(self) -> torch.dtype:
        """The format in which matrices are multiplied."""
        return self.autocast or self.frozen


def choose_precision(settings: Settings) -> Precision:
    """The formats that `bf16`, `fp16` and `pure_bf16` ask for. Raises UsageError if they contradict each other."""
    training = settings.training
    if training.fp16 and (training.bf16 or training.pure_bf16):
        raise UsageError("fp16 and bf16 (or pure_bf16) are both true; keep one of them")
    if training.pure_bf16:
        return Precision(torch.bfloat16, torch.bfloat16, None, scaler=False)
    if training.bf16:
        return Precision(torch.bfloat16, torch.float32, torch.bfloat16, scaler=False)
    if training.fp16:
        return Precision(torch.float16, torch.float32, torch.float16, scaler=True)
    return Precision(torch.float32, torch.float32, None, scaler=False)


def loading_dtype(settings: Settings, *, trains: bool) -> torch.dtype | None:
    """The format that weights are read in; None keeps the checkpoint's own (`infer_dtype: auto`, without training).

    Without adapters the weights that will train are among those read, so all are read in the trained format and the
    frozen ones are rounded once it is known which they are.
    """
    if trains:
        precision = choose_precision(settings)
        return precision.frozen if settings.tuning.finetuning_type == "lora" else precision.trained
    named = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    return named.get(settings.model.infer_dtype)
