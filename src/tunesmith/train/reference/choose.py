"""Which model a run compares its own with.

| tuning                                              | compared with                                            |
|-----------------------------------------------------|----------------------------------------------------------|
| any, with `ref_model`                               | that model, with `ref_model_adapters`                    |
| LoRA, where all that trains is a new adapter        | the same model with the adapter off                      |
| LoRA that goes on with an adapter, or trains biases | a frozen copy of what trains, as the training began      |
| full, freeze                                        | a frozen copy of what trains                             |

An adapter that goes on is compared with itself as it was, not with the model below it: only then does the first step
begin at a distance of 0. `ref_model` with the base's name compares with the base.
"""

from __future__ import annotations

from typing import Literal

from peft import PeftModel
from torch import nn

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.models.adapters.attach import is_adapter_weight
from tunesmith.models.frozen_copy import changing_tensors, frozen_copy
from tunesmith.train.objectives.reference import needs_reference
from tunesmith.train.reference.kinds import AdapterOff, OtherModel
from tunesmith.train.reference.other_model import load_reference_model

Kind = Literal["adapter off", "frozen copy", "other model"]


def kind_of_reference(model: nn.Module, settings: Settings) -> Kind | None:
    """What `model`, as its training begins, is to be compared with; None for stages that compare with nothing."""
    if not needs_reference(settings):
        return None
    if settings.preference.ref_model is not None:
        return "other model"
    begins_at_base = isinstance(model, PeftModel) and not goes_on(settings)
    if begins_at_base and all(map(is_adapter_weight, changing_tensors(model))):
        return "adapter off"
    return "frozen copy"


def build_reference(kind: Kind, model: nn.Module, settings: Settings) -> AdapterOff | OtherModel:
    """The reference of a run, made before a checkpoint is restored into `model`, and once its attention is settled.

    Raises ModelError for a ref_model that does not fit.
    """
    if kind == "other model":
        return _load_other(model, settings)
    if kind == "adapter off":
        return AdapterOff(settings.training.loss_chunk_tokens, describe("adapter off", settings))
    return OtherModel(frozen_copy(model), settings.training.loss_chunk_tokens, describe(kind, settings), shares=True)


def goes_on(settings: Settings) -> bool:
    """Whether an adapter that was there before goes on training."""
    has_adapter = settings.tuning.finetuning_type == "lora" and bool(settings.model.adapter_name_or_path)
    return has_adapter and not settings.tuning.create_new_adapter


def describe(kind: Kind, settings: Settings) -> str:
    """What the model is compared with, in words."""
    if kind == "adapter off":
        return "itself with its adapter off"
    if kind == "frozen copy":
        return "itself as the training began"
    adapters = ", ".join(settings.preference.ref_model_adapters)
    return f"{settings.preference.ref_model}{f' with {adapters}' if adapters else ''}"


def as_it_is(kind: Kind, model: nn.Module, settings: Settings) -> AdapterOff | OtherModel:
    """The same, for use before the first step alone: until then a copy is not needed."""
    if kind == "frozen copy":
        return OtherModel(model, settings.training.loss_chunk_tokens, describe(kind, settings), shares=True)
    return build_reference(kind, model, settings)


def choose_for_evaluation(model: nn.Module, settings: Settings) -> AdapterOff | OtherModel | None:
    """What a model that does not train is compared with: ref_model, or the model below its last adapter.

    Where there is neither it is compared with itself, which is said: log-probabilities are worth a look, rewards are 0.
    """
    if not needs_reference(settings):
        return None
    if settings.preference.ref_model is not None:
        return _load_other(model, settings)
    if isinstance(model, PeftModel):
        return AdapterOff(settings.training.loss_chunk_tokens, describe("adapter off", settings))
    log.warning(
        "the model is compared with itself, so all rewards are 0: give ref_model, the model that its training began "
        "with, or its adapter as adapter_name_or_path"
    )
    return OtherModel(model, settings.training.loss_chunk_tokens, "itself", shares=True)


def _load_other(model: nn.Module, settings: Settings) -> OtherModel:
    other, description = load_reference_model(model, settings), describe("other model", settings)
    return OtherModel(other, settings.training.loss_chunk_tokens, description, shares=False)
