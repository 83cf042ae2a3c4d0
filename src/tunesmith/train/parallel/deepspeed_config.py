"""What DeepSpeed is told: a `ZeroPlan` of the settings, its "auto" values by the model, and what Tunesmith decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tunesmith.config.deepspeed import AUTO, ZeroPlan, plan_zero
from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.models.parts import core_model
from tunesmith.models.precision import choose_precision
from tunesmith.train.parallel.deepspeed_towers import reads_in_portions

_BUCKET_NUMBERS = 5 * 10**8
"""DeepSpeed's own size of a bucket. It is allocated whole, so it is cut to what a model needs."""
_OFFLOAD = {"device": "cpu", "pin_memory": True}


def plan_of(settings: Settings) -> ZeroPlan:
    """The plan of a run.

    ZeRO-1 in 16 bits would add up a step's gradients in 16 bits; ZeRO-2 adds them in float32, and in less memory.
    """
    plan = plan_zero(settings.parallel.deepspeed, cpu_offload=settings.parallel.cpu_offload)
    if plan.stage == 1 and sixteen_bits(settings) is not None:
        return replace(plan, stage=2)
    return plan


def sixteen_bits(settings: Settings) -> torch.dtype | None:
    """The format of DeepSpeed's weights beside its float32 masters; None where the weights are float32 themselves."""
    frozen = choose_precision(settings).frozen
    return None if frozen == torch.float32 else frozen


def engine_config(
    settings: Settings, model: nn.Module, *, num_processes: int, max_grad_norm: float = 0.0
) -> dict[str, Any]:
    """DeepSpeed's configuration for `model`. `max_grad_norm`: what it clips to; 0 for nothing.

    Raises UsageError for a train_batch_size that is another than the settings' over all processes.
    """
    plan, training, compute = plan_of(settings), settings.training, sixteen_bits(settings)
    _require_batch_size(settings, plan, num_processes)
    return {
        **_without_auto(plan.sections),
        # a step ends where Tunesmith says so: DeepSpeed counts nothing
        "train_micro_batch_size_per_gpu": training.per_device_train_batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": compute == torch.bfloat16},
        # the scale is halved at every overflow, as torch's is
        "fp16": {**_without_auto(plan.sections.get("fp16", {})), "enabled": compute == torch.float16, "hysteresis": 1},
        "data_types": {"grad_accum_dtype": "fp32"},
        # weights' gradients are sums here; ZeRO-3 has means only, see deepspeed_gradients
        "gradient_allreduce_op": "mean" if plan.stage == 3 else "sum",
        "zero_optimization": _zero_section(plan, model),
    }


def _zero_section(plan: ZeroPlan, model: nn.Module) -> dict[str, Any]:
    given = dict(plan.sections.get("zero_optimization", {}))
    zero = _without_auto(given) | {"stage": plan.stage}
    if plan.stage == 3:
        zero |= {key: value for key, value in _by_size(model).items() if given.get(key) == AUTO}
    num_trained = sum(_size(parameter) for parameter in model.parameters() if parameter.requires_grad)
    asked = int(zero.get("reduce_bucket_size", _BUCKET_NUMBERS))
    zero["reduce_bucket_size"] = max(1, min(asked, num_trained))
    if plan.offload_optimizer:
        zero["offload_optimizer"] = _without_auto(given.get("offload_optimizer") or _OFFLOAD)
    if plan.offload_param:
        zero["offload_param"] = _without_auto(given.get("offload_param") or _OFFLOAD)
    if not torch.cuda.is_available():
        for section in ("offload_optimizer", "offload_param"):
            if section in zero:
                zero[section] = {**zero[section], "pin_memory": False}
    if plan.stage == 3 and reads_in_portions(model):
        # what is gathered ahead or kept would follow from how often a tower ran, which differs between processes
        zero |= {"stage3_prefetch_bucket_size": 0, "stage3_max_reuse_distance": 0}
    return zero


def _by_size(model: nn.Module) -> dict[str, Any]:
    """The "auto" values of transformers' Trainer, by the width of the language model."""
    width = int(core_model(model).config.get_text_config().hidden_size)
    return {
        "reduce_bucket_size": width * width,
        "stage3_prefetch_bucket_size": int(0.9 * width * width),
        "stage3_param_persistence_threshold": 10 * width,
    }


def _size(parameter: nn.Parameter) -> int:
    """Numbers of a weight, cut (ZeRO-3) or whole."""
    return int(vars(parameter).get("ds_numel", parameter.numel()))


def _without_auto(section: Mapping[str, Any]) -> dict[str, Any]:
    """Without "auto" anywhere: DeepSpeed then takes its own value."""
    return {
        key: _without_auto(value) if isinstance(value, Mapping) else value
        for key, value in section.items()
        if value != AUTO
    }


def _require_batch_size(settings: Settings, plan: ZeroPlan, num_processes: int) -> None:
    training = settings.training
    rows = training.per_device_train_batch_size * training.gradient_accumulation_steps * num_processes
    if plan.train_batch_size is not None and plan.train_batch_size != rows:
        raise UsageError(
            f"deepspeed: train_batch_size is {plan.train_batch_size}, and per_device_train_batch_size "
            f"{training.per_device_train_batch_size} x gradient_accumulation_steps "
            f'{training.gradient_accumulation_steps} x {num_processes} processes are {rows}; write "auto" there'
        )
