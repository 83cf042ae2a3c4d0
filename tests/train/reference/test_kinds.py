"""What each kind of reference says of a batch, in float64, and that asking it changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.train.batches import FLOAT64, make_stepper, tuned_model
from tests.train.objectives.pairs import judged_batch, make_pairs, other_model, pair_batch
from tests.train.tiny_models import tiny_model
from tunesmith.errors import RunError
from tunesmith.models.frozen_copy import frozen_copy
from tunesmith.models.parts import core_model
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.kto import KtoObjective, VerdictTerms
from tunesmith.train.objectives.log_probabilities import TokenLogProbabilities
from tunesmith.train.objectives.pair_losses import PairOptions
from tunesmith.train.reference.kinds import AdapterOff, OtherModel, Stored
from tunesmith.train.steps.forward import Forward

KINDS = ["qwen2", "qwen2_5_vl"]


def log_probabilities(model: nn.Module, batch):
    with torch.no_grad():
        return TokenLogProbabilities(1024)(model.eval(), batch)


def dpo(reference):
    return PairObjective(PairTerms("sigmoid", PairOptions(0.1)), 1024, reference)


def train(model, objective, batch, *, steps: int = 3) -> list[float]:
    """The losses of a few steps on one batch."""
    stepper = make_stepper(model, learning_rate=0.05)
    stepper.forward = Forward(model, objective, FLOAT64, torch.device("cpu"))
    outcomes = [stepper.take([batch]) for _ in range(steps)]
    return [outcome.loss_sum / outcome.num_terms for outcome in outcomes]


@pytest.mark.parametrize("kind", KINDS)
def test_with_its_adapter_off_the_model_is_its_base(kind):
    model, batch = tuned_model(kind, "lora"), pair_batch(make_pairs(kind, 3))
    reference = AdapterOff(1024, "itself")
    train(model, dpo(reference), batch)

    found = reference.log_probabilities(model, batch)

    assert torch.equal(found, log_probabilities(tiny_model(kind), batch))
    assert not found.requires_grad
    assert not torch.equal(found, log_probabilities(model, batch))


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_copy_is_the_model_before_its_training(kind, tuning):
    model, batch = tuned_model(kind, tuning), pair_batch(make_pairs(kind, 3))
    before = log_probabilities(model, batch)
    reference = OtherModel(frozen_copy(model), 1024, "itself", shares=True)

    losses = train(model.train(), dpo(reference), batch)

    assert torch.equal(reference.log_probabilities(model, batch), before)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-14)
    assert losses[2] < losses[0]


def references(model):
    """One of every kind, each the same as a model whose adapter changes nothing."""
    return [
        AdapterOff(1024, "itself"),
        OtherModel(frozen_copy(model), 1024, "a copy", shares=True),
        OtherModel(tiny_model("qwen2_5_vl").requires_grad_(False), 1024, "another", shares=False),
    ]


@pytest.mark.parametrize("number", range(3))
def test_the_first_step_begins_at_no_distance_from_every_reference(number):
    """ln 2 for DPO; 1/2 and no KL for KTO."""
    model = tuned_model("qwen2_5_vl", "lora")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    pairs = make_pairs("qwen2_5_vl", 3)
    reference = references(model)[number]

    assert train(model, dpo(reference), pair_batch(pairs), steps=1) == [pytest.approx(math.log(2), abs=1e-14)]

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    kto = KtoObjective(VerdictTerms(0.1), 1024, reference)
    assert train(model, kto, judged_batch(pairs, [True, False, True]), steps=1) == [pytest.approx(0.5, abs=1e-14)]


def test_asking_leaves_every_module_in_its_mode_and_every_weight_as_it_trained():
    model, batch = tuned_model("qwen2", "lora"), pair_batch(make_pairs("qwen2", 2))
    other = OtherModel(other_model("qwen2"), 1024, "another", shares=False)
    modes = [module.training for module in model.modules()]
    trains = [parameter.requires_grad for parameter in model.parameters()]

    for reference in (AdapterOff(1024, "itself"), other):
        reference.log_probabilities(model, batch)

    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == trains


def with_frozen_tower(tuning: str):
    """A model of which the language model trains, and what it is compared with."""
    model = tiny_model("qwen2_5_vl")
    if tuning == "full":
        model.model.visual.requires_grad_(False)
        return model, OtherModel(frozen_copy(model), 1024, "a copy", shares=True)
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    return get_peft_model(model, config).double().train(), AdapterOff(1024, "itself")


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_frozen_tower_runs_once_for_both_models(tuning):
    model, reference = with_frozen_tower(tuning)
    models = [model, reference.model] if isinstance(reference, OtherModel) else [model]
    runs: list[int] = []
    for each in models:
        core_model(each).model.visual.blocks[0].register_forward_hook(lambda *_: runs.append(1))
    objective, batch = dpo(reference), pair_batch(make_pairs("qwen2_5_vl", 2))
    objective.loss(model, batch, means=None)  # the first run proves the heads of both models
    runs.clear()

    loss = objective.loss(model, batch, means=None)

    assert runs == [1]
    loss.loss_sum.backward()


def test_stored_values_come_with_the_batch_and_without_them_the_row_is_named():
    batch = pair_batch(make_pairs("qwen2", 2))
    with pytest.raises(RunError, match=r"pairs.json, row 0: what the model is compared with was not computed"):
        Stored("itself").log_probabilities(tiny_model("qwen2"), batch)
