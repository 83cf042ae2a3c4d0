"""A step in which memory runs out is the step it would have been: loss, gradients, weights."""

from __future__ import annotations

import pytest
import torch

from tests.train.batches import FLOAT64, make_batch, make_rows, make_stepper, tuned_model
from tests.train.injected import no_memory_above
from tests.train.objectives.pairs import FixedReference, gradients, judged_batch, make_pairs, other_model, pair_batch
from tests.train.steps.splitting import Halves
from tests.train.tiny_models import tiny_model
from tunesmith.errors import RunError, StartAgainError
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.kto import KtoObjective, VerdictTerms
from tunesmith.train.objectives.pair_losses import PairOptions
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.evaluation import evaluate
from tunesmith.train.steps.fits import BatchSize, Fits
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.portions import Splitter
from tunesmith.train.steps.randomness import seed_micro_batch
from tunesmith.train.steps.refusal import StepRefusedError
from tunesmith.train.steps.step import Stepper


def take(model, batches, splitter=None, **fault):
    """One step under a fault; the outcome, and what was seen of the fault."""
    stepper = make_stepper(model)
    stepper.splitter = splitter or Splitter()
    with no_memory_above(**({"num_tokens": 10**9} | fault)) as seen:
        outcome = stepper.take(batches, seed=lambda index: seed_micro_batch(1, 0, index))
    return outcome, seen


def assert_same_weights(one, other, *, atol=1e-12):
    for (name, weight), (_, expected) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize(("kind", "tuning"), [("qwen2", "full"), ("qwen2", "lora"), ("qwen2_5_vl", "full")])
def test_a_micro_batch_that_does_not_fit_is_split_and_the_step_stays_what_it_was(kind, tuning, where):
    rows = make_rows(kind, 7)
    halves = Halves(make_batch)
    models = [tuned_model(kind, tuning) for _ in range(2)]
    expected, _ = take(models[0], [make_batch(rows[:3]), make_batch(rows[3:])])
    splitter = Splitter(split=halves.split)
    least = make_batch(rows[3:]).labels.numel() // 2
    found, seen = take(
        models[1], [halves.make(rows[:3]), halves.make(rows[3:])], splitter, num_tokens=least, where=where
    )
    assert len(seen.sizes) >= 2  # the larger micro-batch, the smaller one or a half of it
    assert len(found.halvings) == len(seen.sizes)
    assert found.loss_sum == pytest.approx(expected.loss_sum, rel=1e-12)
    assert (found.num_terms, found.grad_norm) == (expected.num_terms, pytest.approx(expected.grad_norm, rel=1e-11))
    assert found.metrics["accuracy"] == expected.metrics["accuracy"]
    for name, gradient in gradients(models[0]).items():
        torch.testing.assert_close(gradients(models[1])[name], gradient, rtol=0, atol=1e-12, msg=name)
    assert_same_weights(models[1], models[0], atol=1e-9)  # Adam's first step divides each gradient by its own size


def test_what_fits_is_remembered_and_larger_ones_are_split_before_they_are_tried():
    rows, halves = make_rows("qwen2", 8), Halves(make_batch)
    splitter = Splitter(split=halves.split)
    model = tiny_model("qwen2")
    whole = halves.make(rows)
    _, seen = take(model, [whole], splitter, num_tokens=whole.labels.numel() // 2)
    assert seen.sizes == [whole.labels.numel()]
    (fit,) = splitter.fits.sizes
    assert fit.positions <= whole.labels.numel() // 2
    again, seen = take(model, [halves.make(rows)], splitter, num_tokens=fit.positions)
    assert (seen.sizes, again.halvings) == ([], ())


def test_one_sample_gets_a_second_chance_and_the_same_step_bit_for_bit():
    rows, models = make_rows("qwen2", 1), [tiny_model("qwen2") for _ in range(2)]
    expected, _ = take(models[0], [make_batch(rows)])
    halves = Halves(make_batch)
    found, seen = take(models[1], [halves.make(rows)], Splitter(split=halves.split), num_tokens=0, most=1)
    assert len(seen.sizes) == 1
    assert found == expected
    assert_same_weights(models[1], models[0], atol=0)


def test_one_sample_that_does_not_fit_is_named_and_changes_no_weight():
    halves, model = Halves(make_batch), tiny_model("qwen2")
    splitter = Splitter(split=halves.split, advice="What would help: cutoff_len below 2048")
    rows = make_rows("qwen2", 2)
    with pytest.raises(StepRefusedError) as raised:
        take(model, [halves.make(rows)], splitter, num_tokens=0)
    message = str(raised.value)
    assert "CUDA out of memory" in message
    assert f"a micro-batch of {make_batch(rows[:1]).labels.numel()} tokens on these rows: rows.json, row 0" in message
    assert "cannot be split any further" in message
    assert message.endswith("What would help: cutoff_len below 2048")
    assert_same_weights(model, tiny_model("qwen2"), atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_on_oom_stop_splits_nothing():
    halves = Halves(make_batch)
    with pytest.raises(StepRefusedError, match="on_oom: stop ends the run"):
        take(
            tiny_model("qwen2"),
            [halves.make(make_rows("qwen2", 4))],
            Splitter(split=halves.split, may_split=False),
            num_tokens=8,
        )


def test_in_lockstep_what_fits_is_kept_and_all_start_again():
    halves, kept = Halves(make_batch), []
    splitter = Splitter(lockstep=True, split=halves.split, keep_fits=lambda: kept.append(list(splitter.fits.sizes)))
    stepper = make_stepper(tiny_model("qwen2"))
    stepper.splitter = splitter
    stepper.parallel = _InLockstep()
    batch = halves.make(make_rows("qwen2", 4))
    with (
        no_memory_above(8),
        pytest.raises(StartAgainError, match="all are to go on from the last checkpoint") as raised,
    ):
        stepper.take([batch])
    assert raised.value.exit_status == 75
    assert kept == [[BatchSize(max(half.labels.numel() for half in halves.split(batch)))]]


def test_in_lockstep_processes_without_a_split_repeat_their_portion_with_a_loss_of_zero():
    """As process 1 of 2, whose neighbour has split its micro-batch in four."""
    rows, halves = make_rows("qwen2", 4), Halves(make_batch)
    models = [tiny_model("qwen2") for _ in range(2)]
    expected, _ = take(models[0], [make_batch(rows)])
    model = models[1]
    stepper = make_stepper(model)
    stepper.splitter = Splitter(lockstep=True, split=halves.split, fits=Fits([BatchSize(20)]))
    stepper.parallel = _InLockstep(others=[[4]])
    forwards = _count_forwards(model)
    outcome = stepper.take([halves.make(rows)])
    assert len(forwards) == 4
    assert outcome.loss_sum == pytest.approx(expected.loss_sum, rel=1e-12)
    assert_same_weights(model, models[0], atol=1e-9)


@pytest.mark.parametrize("stage", ["dpo", "kto_pair", "kto"])
def test_stages_that_compare_answers(stage):
    pairs = make_pairs("phi", 6)
    verdicts = [True, False, True, True, False, False]
    order = list(range(6))

    def build(rows):
        chosen = [pairs[row] for row in rows]
        if stage != "kto":
            return pair_batch(chosen)
        before = [pairs[row - 1] for row in rows]
        return judged_batch(chosen, [verdicts[row] for row in rows], neighbours=before)

    def objective():
        if stage == "kto":
            return KtoObjective(VerdictTerms(0.3), 3, FixedReference(other_model("phi")))
        loss = "sigmoid" if stage == "dpo" else stage
        return PairObjective(PairTerms(loss, PairOptions(beta=0.3)), 3, FixedReference(other_model("phi")))

    outcomes, models, halves = [], [tiny_model("phi") for _ in range(2)], Halves(build)
    for model, splitter, most in ((models[0], Splitter(), 10**9), (models[1], Splitter(split=halves.split), 40)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        forward = Forward(model, objective(), FLOAT64, torch.device("cpu"))
        stepper = Stepper(forward, optimizer, scheduler, SingleProcess(), max_grad_norm=0.0, splitter=splitter)
        with no_memory_above(most, evaluating=True) as seen:
            outcomes.append(stepper.take([halves.make(order)]))
    assert seen.sizes
    assert outcomes[1].loss_sum == pytest.approx(outcomes[0].loss_sum, rel=1e-6 if stage == "kto" else 1e-10)
    for name, gradient in gradients(models[0]).items():
        torch.testing.assert_close(gradients(models[1])[name], gradient, rtol=1e-5, atol=1e-8, msg=name)


def test_an_evaluation_splits_too():
    rows, halves = make_rows("qwen2", 6), Halves(make_batch)
    forward = make_stepper(tiny_model("qwen2")).forward
    expected = evaluate(forward, [make_batch(rows)])
    with no_memory_above(20, evaluating=True) as seen:
        found = evaluate(forward, [halves.make(rows)], splitter=Splitter(split=halves.split))
    assert len(found.halvings) == len(seen.sizes) > 1
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert found.metrics == pytest.approx(expected.metrics)
    with no_memory_above(0, evaluating=True), pytest.raises(StepRefusedError, match=r"rows\.json, row 0"):
        evaluate(forward, [halves.make(rows[:1])], splitter=Splitter(split=halves.split))


def test_memory_that_runs_out_in_the_optimiser_is_said_as_such():
    stepper = make_stepper(tiny_model("qwen2"))
    stepper.optimizer_advice = "What would help: optim: adamw_8bit"
    handle = stepper.optimizer.register_step_pre_hook(_run_out)
    with pytest.raises(RunError, match="while the optimiser made room for its state in its first step") as raised:
        stepper.take([make_batch(make_rows("qwen2", 2))])
    assert "Weights may be half changed and are not saved" in str(raised.value)
    assert str(raised.value).endswith("adamw_8bit")
    handle.remove()


def _run_out(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def _count_forwards(model):
    """Of those that train: the head is proven by others."""
    forwards = []
    model.model.layers[0].register_forward_pre_hook(lambda *_: torch.is_grad_enabled() and forwards.append(1) and None)
    return forwards


class _InLockstep(SingleProcess):
    """One process, told that it must keep in step with `others`, whose portions they count."""

    lockstep = True

    def __init__(self, others=()):
        self._others = list(others)

    def gather(self, value):
        return [value, *self._others] if isinstance(value, list) else [value]
