"""Twenty steps of DPO follow TRL's DPOTrainer: the same rows in the same order, AdamW and schedule, to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from tests.train.batches import FLOAT64
from tests.train.objectives.pairs import FixedReference, Pair, make_pairs, pair_batch
from tests.train.objectives.trl_trainers import dpo_trainer, exact
from tests.train.tiny_models import tiny_model
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.pair_losses import PairOptions
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.step import Stepper

NUM_STEPS, BATCH, ACCUMULATED = 20, 2, 2
RATE, DECAY, WARMUP, BETA = 1e-2, 0.1, 3, 0.2


@pytest.fixture(autouse=True)
def exact_trl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with exact(monkeypatch):
        yield


def test_twenty_steps(tmp_path: Path) -> None:
    pairs = make_pairs("phi", 8) * (NUM_STEPS * BATCH * ACCUMULATED // 8)
    trl_model = tiny_model("phi")
    losses = trained_by_trl(tmp_path, trl_model, pairs)

    model = tiny_model("phi")
    found = trained_by_us(model, pairs)

    assert len(found) == NUM_STEPS and losses[-1] < 0.8 * losses[0]
    assert found == pytest.approx(losses, rel=1e-7)
    for name, weight in trl_model.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), weight, rtol=1e-7, atol=1e-9)


def trained_by_trl(folder: Path, model: nn.Module, pairs: list[Pair]) -> list[float]:
    """The loss of every step."""
    trainer = dpo_trainer(
        folder,
        model,
        tiny_model("phi"),
        pairs=pairs,
        loss_type=["sigmoid"],
        beta=BETA,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATED,
        train_sampling_strategy="sequential",
        num_train_epochs=1,
        learning_rate=RATE,
        weight_decay=DECAY,
        lr_scheduler_type="cosine",
        warmup_steps=WARMUP,
        optim="adamw_torch",
        logging_steps=1,
    )
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def trained_by_us(model: nn.Module, pairs: list[Pair]) -> list[float]:
    """The loss of every step. TRL's rows end with the end of a text."""
    ended = [Pair(pair.prompt, [*pair.chosen, 1], [*pair.rejected, 1]) for pair in pairs]
    batches = [pair_batch(ended[start : start + BATCH]) for start in range(0, len(ended), BATCH)]
    objective = PairObjective(PairTerms("sigmoid", PairOptions(BETA)), 1024, FixedReference(tiny_model("phi")))
    optimizer = torch.optim.AdamW(decayed_apart(model), lr=RATE)
    stepper = Stepper(
        forward=Forward(model, objective, FLOAT64, torch.device("cpu")),
        optimizer=optimizer,
        scheduler=get_cosine_schedule_with_warmup(optimizer, WARMUP, NUM_STEPS),
        parallel=SingleProcess(),
        max_grad_norm=1.0,
    )
    outcomes = [stepper.take(batches[start : start + ACCUMULATED]) for start in range(0, len(batches), ACCUMULATED)]
    return [outcome.loss_sum / outcome.num_terms for outcome in outcomes]


def decayed_apart(model: nn.Module) -> list[dict[str, object]]:
    """Weights decay; biases and norms do not, as in transformers' Trainer."""
    decayed = [weight for name, weight in model.named_parameters() if not is_exempt(name)]
    exempt = [weight for name, weight in model.named_parameters() if is_exempt(name)]
    return [{"params": decayed, "weight_decay": DECAY}, {"params": exempt, "weight_decay": 0.0}]


def is_exempt(name: str) -> bool:
    return name.endswith("bias") or "layernorm" in name
