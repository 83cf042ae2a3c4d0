"""Which model a run compares its own with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.given import settings_for
from tunesmith.config.settings import Settings
from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.models.load import load_model
from tunesmith.models.saving import save_trained
from tunesmith.models.tuning.apply import apply_tuning, attach_adapters
from tunesmith.train.objectives.reference import needs_reference
from tunesmith.train.reference.choose import (
    build_reference,
    choose_for_evaluation,
    describe,
    goes_on,
    kind_of_reference,
)
from tunesmith.train.reference.kinds import AdapterOff, OtherModel


def given(folder: Path, *, stage: str = "dpo", preference: dict[str, Any] | None = None, **settings: Any) -> Settings:
    made = settings_for(folder, training={"stage": stage}, **settings)
    return made.model_copy(update={"preference": made.preference.model_copy(update=preference or {})})


@pytest.fixture(scope="module")
def adapter(qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes what the model says."""
    settings, folder = settings_for(qwen2_folder), tmp_path_factory.mktemp("adapter")
    model = apply_tuning(load_model(settings, trains=True), settings)
    with torch.no_grad():
        for parameter in changing_tensors(model).values():
            parameter.normal_(std=0.1)
    save_trained(model, folder)
    return folder


def kind(settings: Settings) -> str | None:
    return kind_of_reference(apply_tuning(load_model(settings, trains=True), settings), settings)


@pytest.mark.parametrize(
    ("stage", "loss", "needed"),
    [
        ("dpo", "sigmoid", True),
        ("dpo", "ipo", True),
        ("kto", "sigmoid", True),
        ("dpo", "orpo", False),
        ("dpo", "simpo", False),
        ("orpo", "sigmoid", False),
        ("simpo", "sigmoid", False),
        ("rm", "sigmoid", False),
        ("sft", "sigmoid", False),
    ],
)
def test_stages_that_compare_with_nothing_have_no_reference(stage, loss, needed, qwen2_folder):
    settings = given(qwen2_folder, stage=stage, preference={"pref_loss": loss})
    assert needs_reference(settings) == needed
    assert (kind(settings) is not None) == needed


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        ({}, "adapter off"),
        ({"additional_target": ["embed_tokens"]}, "adapter off"),
        ({"lora_bias": "all"}, "frozen copy"),
        ({"finetuning_type": "full"}, "frozen copy"),
        ({"finetuning_type": "freeze", "freeze_trainable_layers": 1}, "frozen copy"),
    ],
)
def test_a_model_whose_own_weights_train_is_copied(tuning, expected, qwen2_folder):
    assert kind(given(qwen2_folder, tuning=tuning)) == expected


def test_an_adapter_that_goes_on_is_compared_with_itself_and_a_new_one_with_what_is_below(qwen2_folder, adapter):
    on = given(qwen2_folder, adapter_name_or_path=(str(adapter),))
    new = given(qwen2_folder, adapter_name_or_path=(str(adapter),), tuning={"create_new_adapter": True})
    assert (kind(on), goes_on(on)) == ("frozen copy", True)
    assert (kind(new), goes_on(new)) == ("adapter off", False)


def test_a_named_model_wins_and_is_named_with_its_adapters(qwen2_folder, adapter):
    settings = given(qwen2_folder, preference={"ref_model": "a/base", "ref_model_adapters": ("one", "two")})
    assert kind(settings) == "other model"
    assert describe("other model", settings) == "a/base with one, two"
    assert describe("adapter off", settings) == "itself with its adapter off"


def test_a_copy_of_an_adapter_that_goes_on_costs_the_adapter(qwen2_folder, adapter):
    settings = given(qwen2_folder, adapter_name_or_path=(str(adapter),))
    model = apply_tuning(load_model(settings, trains=True), settings)
    reference = build_reference("frozen copy", model, settings)
    assert isinstance(reference, OtherModel)
    own = {id(parameter) for parameter in model.parameters()}
    copied = [parameter for parameter in reference.model.parameters() if id(parameter) not in own]
    assert sum(map(torch.numel, copied)) == sum(map(torch.numel, changing_tensors(model).values()))


def test_an_evaluation_compares_with_the_model_below_the_adapter_or_with_itself(qwen2_folder, adapter, caplog):
    settings = given(qwen2_folder, adapter_name_or_path=(str(adapter),))
    model = attach_adapters(load_model(settings, trains=False), settings)
    assert isinstance(choose_for_evaluation(model, settings), AdapterOff)

    settings = given(qwen2_folder)
    model = load_model(settings, trains=False)
    reference = choose_for_evaluation(model, settings)
    assert isinstance(reference, OtherModel)
    assert reference.model is model
    assert choose_for_evaluation(model, given(qwen2_folder, stage="orpo")) is None
