"""TRL's log of a step as a line of metrics.jsonl, as the contract in DESIGN.md has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from tunesmith.train.display.metrics import peak_memory_bytes
from tunesmith.train.steps.state import TrainState

_NAMES = {
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "completions_cut_off",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "groups_of_equal_rewards",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clipped_tokens",
}
"""TRL's names of what a line has, and Tunesmith's."""


def drawing_line(logs: Mapping[str, Any], state: TrainState, *, epoch: float, device: torch.device) -> dict[str, Any]:
    """One log step; closes the state's window. A number that is not finite or not known is null.

    loss:              mean over the steps since the last line, as TRL has it; the progress shows in reward
    reward:            mean of the weighted sums over the answers drawn since the last line; rewards/NAME of each reward
    completion_length: mean tokens of an answer; completions_cut_off: share that max_completion_length cut off
    groups_of_equal_rewards: share of answers whose prompt's answers were all worth the same, which teach nothing
    supervised_tokens: tokens of answers drawn since the run began
    tokens_per_s:      tokens of prompts and answers drawn, over the time of the steps
    """
    window = state.close_window()
    line = {
        "step": state.step,
        "epoch": round(epoch, 6),
        "loss": _number(logs.get("loss")),
        "learning_rate": _number(logs.get("learning_rate")),
        "grad_norm": _number(logs.get("grad_norm")),
        "supervised_tokens": state.supervised_tokens,
        "tokens_per_s": window.tokens / window.seconds if window.seconds else None,
        "step_s": window.per_step(window.seconds),
        "peak_memory_bytes": peak_memory_bytes(device),
    }
    line |= {own: _number(logs.get(name)) for name, own in _NAMES.items() if name in logs}
    return line | _single_rewards(logs)


def _single_rewards(logs: Mapping[str, Any]) -> dict[str, float | None]:
    start, end = "rewards/", "/mean"
    return {
        name.removesuffix(end): _number(value)
        for name, value in logs.items()
        if name.startswith(start) and name.endswith(end)
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
