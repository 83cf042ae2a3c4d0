"""From loaded weights to a model of which the right part trains, in the right formats.

`freezing` marks weights of the model itself, `adapters` puts LoRA on it; here the settings choose between them. With
LoRA a tower that is not frozen gets adapters like the language model, and a projector that is not frozen trains in full
beside them.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.models.adapters.attach import adapter_folders, attach_adapter, merge_adapters, train_adapter
from tunesmith.models.freezing import freeze_keys, frozen_parts, train_layers, train_parts
from tunesmith.models.parts import find_parts
from tunesmith.models.precision import Precision, choose_precision
from tunesmith.models.quantization import is_packed, is_quantized
from tunesmith.models.score_head import score_head, train_score_head
from tunesmith.models.tuning.parameter_groups import parameter_groups
from tunesmith.models.tuning.parameter_table import format_table, parameter_table

__all__ = ["apply_tuning", "attach_adapters", "parameter_groups", "parameter_table"]


def apply_tuning(model: PreTrainedModel, settings: Settings) -> PreTrainedModel | PeftModel:
    """`model` with `requires_grad` set as `finetuning_type` and its neighbours say, wrapped by PEFT for LoRA.

    Weights that train are in the precision's trained format, fixed ones in its frozen format. The model is changed
    in place. Raises UsageError for settings that do not fit the model or leave nothing to train.
    """
    kind = settings.tuning.finetuning_type
    tuned: PreTrainedModel | PeftModel = model
    if kind == "lora":
        tuned = train_adapter(model, settings)
    elif kind in ("full", "freeze"):
        _refuse_for_whole_weights(model, settings)
        choose = train_parts if kind == "full" else train_layers
        choose(model, find_parts(model), settings.tuning)
        train_score_head(model)
    else:
        raise NotSupportedYetError(f"finetuning_type: {kind} is not supported yet; use lora, full or freeze")
    _refuse_to_unlearn_scores(tuned, settings)
    if not any(parameter.requires_grad for parameter in tuned.parameters()):
        raise UsageError(f"nothing is left to train: {freeze_keys(frozen_parts(settings.tuning))}; set one to false")
    _set_formats(tuned, choose_precision(settings), keeps_frozen=kind == "lora")
    if settings.model.print_param_status:
        log.info(format_table(parameter_table(tuned)))
    return tuned


def attach_adapters(model: PreTrainedModel, settings: Settings) -> PreTrainedModel | PeftModel:
    """For answering: every adapter of `adapter_name_or_path` but the last merged, the last attached; nothing trains."""
    folders = adapter_folders(settings.model)
    if not folders:
        return model
    return attach_adapter(merge_adapters(model, folders[:-1]), folders[-1], trains=False).eval()


def _refuse_for_whole_weights(model: PreTrainedModel, settings: Settings) -> None:
    kind = settings.tuning.finetuning_type
    if settings.model.adapter_name_or_path:
        raise UsageError(
            f"finetuning_type: {kind} trains the model's own weights and cannot start from adapter_name_or_path: "
            "export the merged model first, or use finetuning_type: lora"
        )
    if is_quantized(model):
        raise UsageError(
            f"finetuning_type: {kind} cannot train quantised weights; use lora or leave quantization_bit out"
        )


def _refuse_to_unlearn_scores(model: nn.Module, settings: Settings) -> None:
    if score_head(model) is not None and settings.training.stage != "rm":
        raise UsageError(
            f"{settings.model.model_name_or_path} (or an adapter on it) is a reward model, which gives scores and "
            f"answers nothing: stage: {settings.training.stage} starts from the language model it was trained from, "
            "stage: rm from this one"
        )


def _set_formats(model: nn.Module, precision: Precision, *, keeps_frozen: bool) -> None:
    """Cast trained weights and, where they were read in the trained format, fixed ones; packed ones stay."""
    for parameter in model.parameters():
        if not parameter.is_floating_point() or is_packed(parameter):
            continue
        if parameter.requires_grad:
            _cast(parameter, precision.trained)
        elif not keeps_frozen:
            _cast(parameter, precision.frozen)


def _cast(parameter: nn.Parameter, dtype: torch.dtype) -> None:
    if parameter.dtype != dtype:
        parameter.data = parameter.data.to(dtype)
