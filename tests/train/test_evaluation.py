"""Evaluation: token means, and no trace left in the training."""

from __future__ import annotations

import math

import pytest
import torch

from tests.train.batches import make_batch, make_rows, make_stepper
from tests.train.tiny_models import tiny_model
from tunesmith.train.steps.evaluation import evaluate


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_loss_and_accuracy_are_means_over_all_supervised_tokens(kind):
    stepper = make_stepper(tiny_model(kind))
    rows = make_rows(kind, 7)
    together = evaluate(stepper.forward, [make_batch(rows)])
    apart = evaluate(stepper.forward, [make_batch(rows[:1]), make_batch(rows[1:3]), make_batch(rows[3:])])
    assert together.supervised_tokens == apart.supervised_tokens
    assert apart.loss == pytest.approx(together.loss, rel=1e-10)
    assert apart.metrics == together.metrics

    batch = make_batch(rows)
    logits = tiny_model(kind).eval()(**batch.inputs).logits[:, :-1]
    chosen = batch.labels[:, 1:] != -100
    expected = torch.nn.functional.cross_entropy(logits[chosen], batch.labels[:, 1:][chosen])
    assert together.loss == pytest.approx(expected.item(), rel=1e-10)
    assert together.metrics["accuracy"] == (logits.argmax(-1) == batch.labels[:, 1:])[chosen].double().mean().item()


def test_training_goes_on_as_if_there_had_been_no_evaluation():
    rows = make_rows("qwen2", 4)
    weights = []
    for evaluates in (False, True):
        stepper = make_stepper(tiny_model("qwen2"))
        for _ in range(3):
            stepper.take([make_batch(rows)])
            if evaluates:
                evaluate(stepper.forward, [make_batch(rows)])
                assert stepper.forward.model.training
        weights.append(stepper.forward.model.lm_head.weight)
    assert torch.equal(*weights)


def test_rows_without_supervised_tokens_give_no_number_rather_than_a_wrong_one():
    mute = [(ids, torch.full_like(labels, -100)) for ids, labels in make_rows("qwen2", 2)]
    evaluation = evaluate(make_stepper(tiny_model("qwen2")).forward, [make_batch(mute)])
    assert math.isnan(evaluation.loss)
    assert evaluation.supervised_tokens == 0
