"""One step: what is refused, what is counted, what a precision does."""

from __future__ import annotations

import pytest
import torch

from tests.train.batches import FLOAT64, make_batch, make_rows, make_stepper
from tests.train.tiny_models import tiny_model
from tunesmith.errors import RunError
from tunesmith.models.precision import Precision
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.step import Stepper


def test_a_step_without_supervised_tokens_changes_no_weight_and_moves_the_schedule():
    stepper = make_stepper(tiny_model("qwen2"))
    mute = [(ids, torch.full_like(labels, -100)) for ids, labels in make_rows("qwen2", 2)]
    outcome = stepper.take([make_batch(mute)])
    assert (outcome.num_terms, outcome.loss_sum, outcome.grad_norm) == (0, 0.0, None)
    assert stepper.optimizer.param_groups[0]["lr"] < 1e-2
    untouched = tiny_model("qwen2")
    for name, weight in stepper.forward.model.named_parameters():
        assert torch.equal(weight, untouched.get_parameter(name))


@pytest.mark.parametrize("uses_scaler", [False, True])
def test_what_the_rows_do_not_read_has_gradient_zero(uses_scaler):
    """A vision tower in a step of text, as in one big batch: the optimiser's step is taken, of weight decay alone."""
    model = tiny_model("qwen2").requires_grad_(False)
    unread = torch.nn.Parameter(torch.ones(3))
    model.register_parameter("unread", unread)
    stepper = make_stepper(model)
    stepper.scaler = torch.amp.GradScaler("cpu", enabled=uses_scaler)
    outcome = stepper.take([make_batch(make_rows("qwen2", 2))])
    assert outcome.loss_sum > 0
    assert outcome.grad_norm == 0.0
    assert stepper.optimizer.param_groups[0]["lr"] < 1e-2
    assert torch.equal(unread.grad, torch.zeros(3))
    torch.testing.assert_close(unread.detach(), torch.full((3,), 1 - 1e-2 * 0.1))


def test_a_loss_that_is_no_number_names_the_rows_and_changes_no_weight():
    model = tiny_model("qwen2")
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = torch.nan
    before = model.lm_head.weight.clone()
    stepper = make_stepper(model)
    rows = [(torch.tensor([5, 6, 7]), torch.tensor([5, 6, 7]))]
    with pytest.raises(RunError, match=r"the loss is nan on these rows: rows\.json, row 0\. No weight was changed"):
        stepper.take([make_batch(rows)])
    assert torch.equal(model.lm_head.weight, before)


def test_gradients_that_are_infinite_stop_the_run_too():
    model = tiny_model("qwen2")
    model.lm_head.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(RunError, match=r"the gradients are (inf|nan)"):
        make_stepper(model).take([make_batch(make_rows("qwen2", 2))])


def test_clipping_limits_the_step_and_reports_the_norm_before_it():
    batch = make_batch(make_rows("qwen2", 3))
    free = make_stepper(tiny_model("qwen2"), max_grad_norm=0.0)
    clipped = make_stepper(tiny_model("qwen2"), max_grad_norm=0.5)
    norms = [stepper.take([batch]).grad_norm for stepper in (free, clipped)]
    assert norms[0] == norms[1] > 0.5
    left = torch.linalg.vector_norm(
        torch.stack([weight.grad.norm() for weight in clipped.forward.model.parameters() if weight.grad is not None])
    )
    assert left.item() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(
    "precision",
    [
        Precision(torch.bfloat16, torch.float32, torch.bfloat16, scaler=False),
        Precision(torch.float32, torch.float32, None, scaler=False),
        Precision(torch.bfloat16, torch.bfloat16, None, scaler=False),
        Precision(torch.float16, torch.float32, torch.float16, scaler=True),
    ],
    ids=["bf16", "fp32", "pure_bf16", "fp16"],
)
def test_every_precision_learns_the_same_rows(precision):
    batch = make_batch(make_rows("qwen2", 4))
    losses = []
    for chosen in (FLOAT64, precision):
        model = tiny_model("qwen2").to(chosen.trained)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        forward = Forward(model, SupervisedObjective(16), chosen, torch.device("cpu"))
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        stepper = Stepper(forward, optimizer, scheduler, SingleProcess(), max_grad_norm=1.0)
        outcomes = [stepper.take([batch]) for _ in range(8)]
        losses.append([outcome.loss_sum / outcome.num_terms for outcome in outcomes])
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)
    assert losses[1][-1] < losses[1][0] - 0.5
    assert losses[1][-1] == pytest.approx(losses[0][-1], rel=0.1)


def test_the_scaler_leaves_out_a_step_whose_gradients_overflow():
    model = tiny_model("qwen2").float()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    precision = Precision(torch.float16, torch.float32, torch.float16, scaler=True)
    forward = Forward(model, SupervisedObjective(16), precision, torch.device("cpu"))
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=10)
    stepper = Stepper(forward, optimizer, scheduler, SingleProcess(), max_grad_norm=1.0)
    handle = model.lm_head.weight.register_hook(lambda gradient: gradient * torch.inf)
    before, rate = model.lm_head.weight.clone(), optimizer.param_groups[0]["lr"]
    stepper.take([make_batch(make_rows("qwen2", 2))])
    assert torch.equal(model.lm_head.weight, before)
    assert optimizer.param_groups[0]["lr"] == rate
    handle.remove()
    stepper.take([make_batch(make_rows("qwen2", 2))])
    assert not torch.equal(model.lm_head.weight, before)
    assert optimizer.param_groups[0]["lr"] != rate


def test_the_rate_shown_is_the_runs_own_and_not_that_of_a_part_that_comes_first():
    stepper = make_stepper(tiny_model("qwen2"))
    tower = torch.nn.Parameter(torch.ones(3))
    own = stepper.optimizer.param_groups[0]
    stepper.optimizer.param_groups[:] = [{**own, "params": [tower], "lr": 1e-5}, {**own, "is_main": True}]
    stepper.scheduler.base_lrs *= 2
    stepper.scheduler.lr_lambdas *= 2
    assert stepper.take([make_batch(make_rows("qwen2", 1))]).learning_rate == 1e-2
