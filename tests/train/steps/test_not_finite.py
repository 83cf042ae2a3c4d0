"""Where a loss or gradient that is not finite comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.train.batches import make_batch, make_rows, make_stepper
from tests.train.injected import not_a_number
from tests.train.steps.splitting import Halves
from tests.train.tiny_models import tiny_model
from tunesmith.chat.message import RowSource
from tunesmith.train.steps.counts import StepCounts
from tunesmith.train.steps.not_finite import NotFiniteError, broken_weight
from tunesmith.train.steps.portions import Splitter

RARE = 89


def rows_with_rare_token(count, at):
    """Rows of which the one at `at` has a token that no other has."""
    rows = make_rows("qwen2", count)
    ids, labels = rows[at]
    rows[at] = (torch.cat([torch.tensor([RARE]), ids]), torch.cat([torch.tensor([-100]), labels]))
    return rows


def build(rows):
    """A batch of rows with their numbers."""
    batch = make_batch([row for _, row in rows])
    return replace(batch, sources=tuple(RowSource("rows.json", number) for number, _ in rows))


def refused(model, rows, where):
    halves = Halves(build)
    stepper = make_stepper(model)
    stepper.splitter = Splitter(split=halves.split)
    numbered = list(enumerate(rows))
    middle = len(rows) // 2
    with not_a_number(RARE, where=where), pytest.raises(NotFiniteError) as raised:
        stepper.take([halves.make(numbered[:middle]), halves.make(numbered[middle:])])
    assert all(parameter.grad is None for parameter in model.parameters())
    return raised.value


@pytest.mark.parametrize(("where", "what"), [("loss", "the loss is nan"), ("gradient", "the gradients are nan")])
def test_the_row_is_named_among_those_of_its_batch(where, what):
    model = tiny_model("qwen2")
    error = refused(model, rows_with_rare_token(8, at=5), where)
    assert str(error) == f"{what} on these rows: rows.json, row 5. No weight was changed"
    assert error.trouble.rows == (RowSource("rows.json", 5),)
    assert error.trouble.weight is None
    (batch,) = error.trouble.batches
    assert [source.row for source in batch.sources] == [4, 5, 6, 7]
    untouched = tiny_model("qwen2")
    for name, weight in model.named_parameters():
        assert torch.equal(weight, untouched.get_parameter(name))


def test_gradients_that_are_broken_by_no_row_alone_name_all():
    model = tiny_model("qwen2")
    calls = []
    once = lambda gradient: calls.append(1) or (gradient * torch.inf if len(calls) == 1 else gradient)  # noqa: E731
    model.lm_head.weight.register_hook(once)
    error = refused(model, make_rows("qwen2", 4), "gradient")
    assert error.trouble.rows == ()
    assert [source.row for batch in error.trouble.batches for source in batch.sources] == [0, 1, 2, 3]


def test_a_weight_that_is_no_number_is_found():
    model = tiny_model("qwen2")
    assert broken_weight(model) is None
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.inf
    assert broken_weight(model) == "model.layers.1.mlp.up_proj.weight (trains)"
    model.requires_grad_(False)
    assert broken_weight(model) == "model.layers.1.mlp.up_proj.weight (of the base, does not train)"


def test_a_skipped_step_moves_the_schedule_and_nothing_else():
    model = tiny_model("qwen2")
    stepper = make_stepper(model)
    with not_a_number(RARE), pytest.raises(NotFiniteError):
        stepper.take([make_batch(rows_with_rare_token(2, at=0))])
    rate = stepper.optimizer.param_groups[0]["lr"]
    outcome = stepper.skip(_no_counts())
    assert (outcome.skipped, outcome.num_terms, outcome.grad_norm) == (True, 0, None)
    assert stepper.optimizer.param_groups[0]["lr"] < rate
    assert not stepper.optimizer.state


def test_the_scaler_of_fp16_leaves_out_some_steps_and_not_all():
    model = tiny_model("qwen2").float()
    stepper = make_stepper(model)
    stepper.scaler = torch.amp.GradScaler("cpu", enabled=True)
    handle = model.lm_head.weight.register_hook(lambda gradient: gradient * torch.inf)
    batch = make_batch(make_rows("qwen2", 1))
    for _ in range(24):
        stepper.take([batch])
    with pytest.raises(NotFiniteError, match="the gradients are"):
        stepper.take([batch])
    stepper.skip(_no_counts())
    handle.remove()
    before = model.lm_head.weight.clone()
    stepper.take([batch])
    assert not torch.equal(model.lm_head.weight, before)


def _no_counts():
    return StepCounts(terms=5, supervised=5, tokens=7, positions=8)
