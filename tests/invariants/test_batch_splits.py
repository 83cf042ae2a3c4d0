"""However a step's rows are split into micro-batches: one big batch, in loss, gradients and trajectory."""

from __future__ import annotations

import pytest
import torch

from tests.train.batches import make_batch, make_rows, make_stepper, tuned_model

ROWS_PER_STEP = 6
SPLITS = [[6], [1, 1, 1, 1, 1, 1], [2, 4], [3, 3], [5, 1]]


def split(rows, sizes):
    rows = iter(rows)
    return [make_batch([next(rows) for _ in range(size)]) for size in sizes]


def run(kind, tuning, sizes, num_steps):
    """Losses, gradient norms and final weights of a few steps whose rows are split into `sizes`."""
    stepper = make_stepper(tuned_model(kind, tuning))
    rows = make_rows(kind, ROWS_PER_STEP * num_steps)
    outcomes = [
        stepper.take(split(rows[step * ROWS_PER_STEP : (step + 1) * ROWS_PER_STEP], sizes)) for step in range(num_steps)
    ]
    weights = {name: weight for name, weight in stepper.forward.model.named_parameters() if weight.requires_grad}
    return outcomes, weights


@pytest.mark.parametrize("sizes", SPLITS[1:], ids=str)
@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_any_split_is_one_big_batch(kind, tuning, sizes):
    whole, whole_weights = run(kind, tuning, [ROWS_PER_STEP], num_steps=4)
    parts, part_weights = run(kind, tuning, sizes, num_steps=4)
    for one, other in zip(whole, parts, strict=True):
        assert other.num_terms == one.num_terms
        assert other.loss_sum == pytest.approx(one.loss_sum, rel=1e-10)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-9)
    assert part_weights.keys() == whole_weights.keys()
    for name, weight in whole_weights.items():
        torch.testing.assert_close(part_weights[name], weight, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_gradients_of_a_split_step_equal_those_of_one_batch(kind):
    gradients = []
    for sizes in ([6], [1, 2, 3]):
        stepper = make_stepper(tuned_model(kind, "full"), learning_rate=0.0, max_grad_norm=0.0)
        stepper.take(split(make_rows(kind, 6), sizes))
        gradients.append({name: weight.grad for name, weight in stepper.forward.model.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is not None:
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-10, atol=1e-13)


def test_rows_without_supervised_tokens_change_nothing_but_the_place():
    rows = make_rows("qwen2", 3)
    mute = [(ids, torch.full_like(labels, -100)) for ids, labels in make_rows("qwen2", 2)]
    with_mute = make_stepper(tuned_model("qwen2", "full"))
    without = make_stepper(tuned_model("qwen2", "full"))
    one = with_mute.take([make_batch(rows), make_batch(mute)])
    other = without.take([make_batch(rows)])
    assert (one.loss_sum, one.num_terms, one.grad_norm) == (other.loss_sum, other.num_terms, other.grad_norm)
    assert one.num_tokens > other.num_tokens
    for name, weight in with_mute.forward.model.named_parameters():
        assert torch.equal(weight, without.forward.model.get_parameter(name))
