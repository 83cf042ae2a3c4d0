"""The lines of metrics.jsonl, as the contract in DESIGN.md has them."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch

from tunesmith.train.steps.evaluation import Evaluation
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import StepOutcome


def training_line(state: TrainState, *, epoch: float, outcome: StepOutcome, device: torch.device) -> dict[str, Any]:
    """One log step; closes the state's window.

    loss:              mean over the supervised tokens (or pairs, or answers) since the last line, null of none
    and the metrics of the objective: means since the last line
    learning_rate, grad_norm: of the last step, `outcome`; the norm before clipping
    supervised_tokens: trained on since the run began
    tokens_per_s:      input tokens without padding, media tokens included, over the time of the steps alone
    step_s:            mean duration of a step since the last line
    data_wait_s:       mean time a step waited for its batches before that
    padding_share:     of all positions since the last line, those that held no token
    skipped_steps:     since the run began, where any was (on_nan: skip)
    """
    window = state.close_window()
    return {
        "step": state.step,
        "epoch": round(epoch, 6),
        "loss": window.mean_loss,
        "learning_rate": outcome.learning_rate,
        "grad_norm": outcome.grad_norm,
        "supervised_tokens": state.supervised_tokens,
        "tokens_per_s": window.tokens / window.seconds if window.seconds else None,
        "step_s": window.per_step(window.seconds),
        "data_wait_s": window.per_step(window.wait_s),
        "padding_share": window.padding_share,
        "peak_memory_bytes": peak_memory_bytes(device),
        **({"skipped_steps": state.skipped_steps} if state.skipped_steps else {}),
        **{name: mean.value for name, mean in window.metrics.items()},
    }


def evaluation_line(state: TrainState, evaluation: Evaluation, *, epoch: float, seconds: float) -> dict[str, Any]:
    """One evaluation: means over the held-out rows."""
    return {
        "step": state.step,
        "epoch": round(epoch, 6),
        **{f"eval_{name}": value for name, value in evaluation.numbers().items()},
        "eval_s": seconds,
    }


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory used so far: on the GPU, or for runs on the CPU by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
