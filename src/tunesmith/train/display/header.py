"""What a run says before its first step and after its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from tunesmith.config.settings import Settings
from tunesmith.data.report.report import DataReport
from tunesmith.models.tuning.parameter_table import PartRow, parameter_table
from tunesmith.train.display.metrics import peak_memory_bytes
from tunesmith.train.steps.plan import StepPlan
from tunesmith.train.steps.state import TrainState

_ROWS = {"pairs": "pairs", "documents": "documents", "prompts": "answers"}
"""What the rows of a step are called, where they have a name of their own."""


def describe_run(
    model: nn.Module,
    settings: Settings,
    *,
    report: DataReport,
    plan: StepPlan,
    device: torch.device,
    compared_with: str | None = None,
) -> str:
    """Model, what trains and is compared with, data, steps and memory, a line each."""
    rows = parameter_table(model)
    training = settings.training
    lines = [
        f"model    {settings.model.model_name_or_path} on {_device_name(device)}",
        f"trains   {_describe_parts(rows)}",
        *([] if compared_with is None else [f"against  {compared_with}"]),
        *_indented("data    ", report.summary()),
        f"steps    {_describe_steps(plan)} of {_describe_step(settings, plan)}, {training.optim}, "
        f"learning rate {training.learning_rate:g} {training.lr_scheduler_type}",
        f"memory   {_size(sum(row.weight_bytes for row in rows))} weights, "
        f"{_size(3 * sum(row.trainable_bytes for row in rows))} gradients and AdamW's moments, and the activations",
        f"output   {training.output_dir}",
    ]
    return "\n".join(lines)


def describe_end(state: TrainState, *, folder: Path, metrics: Mapping[str, float], device: torch.device) -> str:
    """Steps, tokens, time, losses, memory and where everything is."""
    speed = state.tokens / max(state.seconds, 1e-9)
    shown = {"reward": "reward", "loss": "loss", "eval_loss": "eval loss", "eval_accuracy": "token accuracy"}
    shown |= {"eval_rewards/accuracies": "accuracy of preferences"}
    losses = ", ".join(f"{label} {metrics[key]:.4f}" for key, label in shown.items() if key in metrics)
    lines = [
        f"finished {state.step:,} steps, {state.supervised_tokens:,} supervised of {state.tokens:,} tokens, "
        f"{state.seconds:,.0f} s ({speed:,.0f} tok/s), {state.wait_s:,.1f} s waiting for data, "
        f"peak memory {_size(peak_memory_bytes(device))}"
    ]
    if losses:
        lines.append(f"result   {losses}")
    if state.best_metric is not None:
        lines.append(f"best     {state.best_metric:.4f} at step {state.best_step}")
    if state.empty_steps:
        lines.append(f"note     {state.empty_steps} steps had nothing in the loss and changed nothing")
    return "\n".join([*lines, f"written  {folder}"])


def _describe_steps(plan: StepPlan) -> str:
    epoch = "" if plan.steps_per_epoch is None else f" ({plan.steps_per_epoch:,} an epoch)"
    return f"{'' if plan.exact else 'about '}{plan.total_steps:,}{epoch}"


def _describe_step(settings: Settings, plan: StepPlan) -> str:
    """The rows of a step, `16 rows (8 x 2)`, or what bounds its micro-batches."""
    data, training, accumulation = settings.data, settings.training, plan.accumulation
    rows = _ROWS.get(training.rows, "rows")
    about = f"about {_rounded(plan.rows_per_step)} {rows}"
    if settings.packs:
        packs = training.per_device_train_batch_size
        return f"{about} ({packs} x {accumulation} packs of {data.cutoff_len:,} tokens)"
    if data.batch_tokens is not None:
        return f"{about} ({accumulation} x {data.batch_tokens:,} tokens)"
    size = training.per_device_train_batch_size
    samples = "samples" if rows == "documents" else rows  # a long one is several
    return f"{size * accumulation} {samples} ({size} x {accumulation})"


def _rounded(count: float) -> str:
    """Few are told apart: a step takes a tenth of a long document."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _describe_parts(rows: Sequence[PartRow]) -> str:
    total = sum(row.total for row in rows)
    trained = "; ".join(f"{row.part} {row.trainable:,}" for row in rows if row.trainable)
    share = sum(row.trainable for row in rows) / max(total, 1)
    return f"{trained}; {share:.2%} of {total:,} parameters"


def _indented(label: str, lines: Sequence[str]) -> list[str]:
    return [f"{label if index == 0 else ' ' * len(label)} {line}" for index, line in enumerate(lines)]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**27 else f"{num_bytes / 2**20:.1f} MiB"
