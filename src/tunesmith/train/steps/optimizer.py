"""Optimisers by transformers' names.

Which parameters train, in which groups, at which learning rate is decided in `models.tuning`; this module only knows
how the named optimisers are built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from transformers.optimization import Adafactor

from tunesmith import extras
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import UsageError

Groups = list[dict[str, Any]]
"""torch's parameter groups: `params`, `lr`, `weight_decay` of each."""
_Build = Callable[[Groups, TrainingSettings, dict[str, Any]], Optimizer]


def build_optimizer(groups: Groups, training: TrainingSettings) -> Optimizer:
    """The optimiser `optim` over `groups`, with `optim_args` passed on to it.

    Raises UsageError for a name or an argument it does not have, MissingExtraError where bitsandbytes is needed and
    absent.
    """
    build = _BUILDERS.get(training.optim)
    if build is None:
        raise UsageError(f"optim: {training.optim} is not an optimiser here; choose one of {', '.join(_BUILDERS)}")
    try:
        return build(groups, training, _parse_arguments(training.optim_args))
    except TypeError as error:
        raise UsageError(
            f"optim_args: {training.optim_args!r} does not fit optim: {training.optim}: {error}"
        ) from error


def _adam_arguments(training: TrainingSettings) -> dict[str, Any]:
    return {"betas": (training.adam_beta1, training.adam_beta2), "eps": training.adam_epsilon}


def _adamw(groups: Groups, training: TrainingSettings, arguments: dict[str, Any]) -> Optimizer:
    return torch.optim.AdamW(groups, **_adam_arguments(training), **arguments)


def _adamw_fused(groups: Groups, training: TrainingSettings, arguments: dict[str, Any]) -> Optimizer:
    return torch.optim.AdamW(groups, fused=True, **_adam_arguments(training), **arguments)


def _sgd(groups: Groups, training: TrainingSettings, arguments: dict[str, Any]) -> Optimizer:  # noqa: ARG001
    return torch.optim.SGD(groups, **arguments)


def _adafactor(groups: Groups, training: TrainingSettings, arguments: dict[str, Any]) -> Optimizer:  # noqa: ARG001
    # learning_rate and its schedule rule, as in transformers' Trainer; not Adafactor's own relative steps
    options = {"scale_parameter": False, "relative_step": False, **arguments}
    optimizer: Optimizer = Adafactor(groups, **options)  # type: ignore[no-untyped-call]
    return optimizer


def _bitsandbytes(class_name: str) -> _Build:
    def build(groups: Groups, training: TrainingSettings, arguments: dict[str, Any]) -> Optimizer:
        optim = extras.require("bitsandbytes", wanted_by=f"optim: {training.optim}").optim
        optimizer: Optimizer = vars(optim)[class_name](groups, **_adam_arguments(training), **arguments)
        return optimizer

    return build


_BUILDERS: Mapping[str, _Build] = {
    "adamw_torch": _adamw,
    "adamw_hf": _adamw,
    "adamw_torch_fused": _adamw_fused,
    "adamw_8bit": _bitsandbytes("AdamW8bit"),
    "adamw_bnb_8bit": _bitsandbytes("AdamW8bit"),
    "paged_adamw": _bitsandbytes("PagedAdamW32bit"),
    "paged_adamw_32bit": _bitsandbytes("PagedAdamW32bit"),
    "paged_adamw_8bit": _bitsandbytes("PagedAdamW8bit"),
    "adafactor": _adafactor,
    "sgd": _sgd,
}


def _parse_arguments(text: str | None) -> dict[str, Any]:
    """`"foreach=false,maximize=true"` to keyword arguments: booleans and numbers are recognised."""
    arguments: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"optim_args: {text!r} has {item!r} where name=value was expected")
        arguments[name.strip()] = _parse_value(value.strip())
    return arguments


def _parse_value(value: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
