"""Steppers around tiny models, and their checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.train.batches import make_batch, make_rows, make_stepper
from tunesmith.models.saving import save_trained
from tunesmith.train.checkpoint.draft import Draft, take_draft
from tunesmith.train.checkpoint.progress import Progress, read_progress
from tunesmith.train.checkpoint.restore import restore
from tunesmith.train.checkpoint.write import write_alone
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import Stepper

ROWS = make_rows("qwen2", 6)


def build(folder: Path, tuning: str) -> Stepper:
    """A stepper around the model of `folder`, all of it or an adapter on it training."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    if tuning == "lora":
        torch.manual_seed(3)
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).train()
    return make_stepper(model)


def take(stepper: Stepper, num_steps: int) -> None:
    """So many steps, the same each time this is called."""
    for step in range(num_steps):
        stepper.take([make_batch(ROWS[2 * step : 2 * step + 2])])


def draft(
    stepper: Stepper, state: TrainState, *, only_model: bool = False, copied: bool = False, pace: Pace | None = None
) -> Draft:
    """A checkpoint still to be written."""
    return take_draft(
        stepper,
        None if only_model else Progress(state, {"seed": 1}, {"learning_rate": 0.1}, {"rows": 5}),
        write_model=lambda place, weights: save_trained(stepper.forward.model, place, weights=weights),
        pace=pace,
        copied=copied,
    )


def save(folder: Path, stepper: Stepper, state: TrainState, *, only_model: bool = False) -> None:
    """Write a checkpoint."""
    write_alone(folder, draft(stepper, state, only_model=only_model))


def resume(folder: Path, stepper: Stepper, *, pace: Pace | None = None) -> None:
    """Go on from a checkpoint, proven to be what was written."""
    restore(folder, stepper, pace=pace, fingerprint=read_progress(folder).fingerprint)
