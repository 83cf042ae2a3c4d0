"""No split of a step's rows changes its loss or gradients: micro-batches, padded rows or one packed sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch import nn

from tests.invariants.paired_rows import GivenPairs, float64_throughout
from tests.tiny import tiny_folder
from tests.train.batches import FLOAT64
from tests.train.objectives.pairs import FixedReference, gradients, judged_batch, make_pairs, other_model, pair_batch
from tests.train.tiny_models import tiny_model
from tunesmith.data.batches.batch import Batch
from tunesmith.models.packing.positions import find_axis_positions
from tunesmith.models.packing.proof import Packing
from tunesmith.models.packing.split_attention import split_attention
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.kto import KtoObjective, VerdictTerms
from tunesmith.train.objectives.objective import Objective
from tunesmith.train.objectives.pair_losses import LOSSES, PairOptions
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.step import StepOutcome, Stepper

OPTIONS = PairOptions(beta=0.3, label_smoothing=0.1, gamma=0.5)
VERDICTS = (True, False, False, False, True, False, True, False)


def take_step(objective: Objective, model: nn.Module, batches: Sequence[Batch]) -> StepOutcome:
    """One step without clipping or weight decay; the gradients stay in `model`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    forward = Forward(model, objective, FLOAT64, torch.device("cpu"))
    with float64_throughout(model):
        return Stepper(forward, optimizer, scheduler, SingleProcess(), max_grad_norm=0.0).take(batches)


def assert_same_step(build: Callable[[], Objective], one: Sequence[Batch], other: Sequence[Batch], kind: str) -> None:
    models = [tiny_model(kind) for _ in range(2)]
    first, second = (take_step(build(), model, batches) for model, batches in zip(models, (one, other), strict=True))
    assert second.num_terms == first.num_terms
    assert second.loss_sum == pytest.approx(first.loss_sum, rel=1e-10)
    assert {name: mean.count for name, mean in second.metrics.items()} == {
        name: mean.count for name, mean in first.metrics.items()
    }
    for name, mean in first.metrics.items():
        assert second.metrics[name].value == pytest.approx(mean.value, rel=1e-9, abs=1e-12), name
    for name, gradient in gradients(models[0]).items():
        torch.testing.assert_close(gradients(models[1])[name], gradient, rtol=1e-8, atol=1e-11)


def pair_objective(loss: str, kind: str = "qwen2") -> Callable[[], PairObjective]:
    terms = PairTerms(loss, OPTIONS, bco_weight=0.5, ftx_weight=0.2, ld_alpha=0.5)
    return lambda: PairObjective(terms, 3, FixedReference(other_model(kind)))


def kto_objective(kind: str = "qwen2") -> Callable[[], KtoObjective]:
    terms = VerdictTerms(0.3, good_weight=1.4, bad_weight=0.6, ftx_weight=0.2)
    return lambda: KtoObjective(terms, 3, FixedReference(other_model(kind)))


@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize("loss", [*LOSSES, "kto_pair"])
def test_pairs_in_several_micro_batches(loss, micro_batches):
    pairs = make_pairs("phi", 8)
    size = 8 // micro_batches
    split = [pair_batch(pairs[start : start + size]) for start in range(0, 8, size)]
    assert_same_step(pair_objective(loss, "phi"), [pair_batch(pairs)], split, "phi")


@pytest.mark.parametrize("kind", ["phi", "qwen2_5_vl"])
@pytest.mark.parametrize("sizes", [(4, 4), (1, 5, 2), (2, 2, 2, 2)])
def test_judged_answers_in_several_micro_batches(sizes, kind):
    """The mismatched answers stay what they are: which they are was settled when the rows were read."""
    pairs = make_pairs(kind, 8)
    whole = judged_batch(pairs, VERDICTS)
    split = []
    for size, stop in zip(sizes, accumulate(sizes), strict=True):
        part = slice(stop - size, stop)
        batch = judged_batch(pairs[part], VERDICTS[part], neighbours=[pairs[i - 1] for i in range(stop - size, stop)])
        split.append(batch)
    assert_same_step(kto_objective(kind), [whole], split, kind)


def test_a_step_without_a_good_answer_has_only_what_is_known_of_bad_ones():
    batch = judged_batch(make_pairs("phi", 3), (False, False, False))
    outcome = take_step(kto_objective("phi")(), tiny_model("phi"), [batch])
    assert outcome.metrics["rewards/chosen"].value is None
    assert outcome.metrics["rewards/margins"].value is None
    assert outcome.metrics["rewards/rejected"].count == 3


def test_margins_of_judged_answers_are_good_rewards_less_bad_ones():
    batches = [judged_batch(make_pairs("phi", 8)[part], VERDICTS[part]) for part in (slice(0, 3), slice(3, 8))]
    metrics = take_step(kto_objective("phi")(), tiny_model("phi"), batches).metrics
    margin = metrics["rewards/chosen"].value - metrics["rewards/rejected"].value
    assert metrics["rewards/margins"].value == pytest.approx(margin, rel=1e-9)


@pytest.fixture(scope="module", params=["phi", "qwen2_5_vl"])
def given(request, tmp_path_factory) -> GivenPairs:
    return GivenPairs(request.param, tiny_folder(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.mark.parametrize("loss", ["sigmoid", "orpo", "kto_pair"])
def test_pairs_padded_packed_and_behind_one_beginning(given, loss):
    """`packed`, `shared`: the three layouts of a batch, two of them in two micro-batches."""
    reference = FixedReference(moved(given.model()))
    found = []
    for layout in ({"packed": False}, {"packed": True}, {"packed": True, "shared": True}):
        model = given.model()
        assert split_attention(model)
        objective = replace(pair_objective(loss)(), reference=reference)
        groups = [range(5)] if layout["packed"] else [range(2), range(2, 5)]
        outcome = take_step(objective, model, [given.pairs(model, group, **layout) for group in groups])
        found.append((outcome, gradients(model)))
    for outcome, grads in found[1:]:
        assert outcome.loss_sum == pytest.approx(found[0][0].loss_sum, rel=1e-10)
        for name, gradient in found[0][1].items():
            torch.testing.assert_close(grads[name], gradient, rtol=1e-8, atol=1e-11)


def test_judged_answers_padded_and_packed(given):
    reference = FixedReference(moved(given.model()))
    found = []
    for packed in (False, True):
        model = given.model()
        assert split_attention(model)
        batches = [judged(given, model, rows, packed=packed) for rows in ([range(3)] if packed else [[0], [1, 2]])]
        found.append((take_step(replace(kto_objective()(), reference=reference), model, batches), gradients(model)))
    (padded, padded_gradients), (packed, packed_gradients) = found
    assert packed.loss_sum == pytest.approx(padded.loss_sum, rel=1e-10)
    for name, gradient in padded_gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=1e-8, atol=1e-11)


def judged(given: GivenPairs, model: nn.Module, rows: Sequence[int], *, packed: bool) -> Batch:
    """The chosen answers of pairs of `given`, every second one marked good, with the rejected ones for the KL."""
    examples = [replace(given.examples[index], verdict=index % 2 == 0) for index in rows]
    batch = given.collator(packed=packed)(examples, [given.media_of(example) for example in examples])
    batch = batch.completed(Packing(splits=True, axes=find_axis_positions(model)))
    return replace(in_float64(batch), mismatched=in_float64(batch.mismatched))


def in_float64(batch: Batch) -> Batch:
    return replace(batch, inputs={name: x.double() if x.is_floating_point() else x for name, x in batch.inputs.items()})


def test_known_log_probabilities_of_the_reference_stand_in_for_its_forward():
    batch, reference = pair_batch(make_pairs("phi", 4)), FixedReference(other_model("phi"))
    with float64_throughout(reference.model):
        known = reference.log_probabilities(tiny_model("phi"), batch)
    stored = replace(batch, answers=replace(batch.answers, reference=known))
    live = take_step(pair_objective("sigmoid", "phi")(), tiny_model("phi"), [batch])
    alone = replace(pair_objective("sigmoid", "phi")(), reference=None)
    assert take_step(alone, tiny_model("phi"), [stored]).loss_sum == live.loss_sum


def moved(model: nn.Module) -> nn.Module:
    """A reference that differs from a model in every weight."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.02)
    assert split_attention(model)
    return model.requires_grad_(False).eval()
