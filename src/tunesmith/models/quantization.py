"""Frozen weights in 4 or 8 bits by bitsandbytes (QLoRA, arXiv 2305.14314), safe to evaluate between training steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.quantizers.base import get_keys_to_not_convert

from tunesmith import extras
from tunesmith.config.model import ModelSettings
from tunesmith.errors import NotSupportedYetError


def quantization_config(
    model: ModelSettings, *, compute: torch.dtype, whole: list[str] | None = None
) -> BitsAndBytesConfig | None:
    """What transformers needs to quantise while loading, None without `quantization_bit`.

    Every linear layer is quantised but the output head, or but those that the patterns `whole` match; `compute` is the
    format they multiply in.
    Raises MissingExtraError without bitsandbytes, NotSupportedYetError for other methods.
    """
    if model.quantization_bit is None:
        return None
    if model.quantization_method not in ("bnb", "bitsandbytes"):
        raise NotSupportedYetError(
            f"quantization_method {model.quantization_method!r} is not supported yet; use bnb (bitsandbytes)"
        )
    extras.require("bitsandbytes", wanted_by=f"quantization_bit: {model.quantization_bit}")
    build: Any = BitsAndBytesConfig
    if model.quantization_bit == 8:
        eight: BitsAndBytesConfig = build(load_in_8bit=True, llm_int8_skip_modules=whole)
        return eight
    four: BitsAndBytesConfig = build(
        load_in_4bit=True,
        bnb_4bit_quant_type=model.quantization_type,
        bnb_4bit_use_double_quant=model.double_quantization,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=torch.uint8,
        llm_int8_skip_modules=whole,
    )
    return four


def whole_modules(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """Patterns, as transformers matches them, of the output head and of every module whose name ends in one of `names`.

    What trains in full beside an adapter cannot be packed. `model` may stand on the meta device.
    """
    return [*get_keys_to_not_convert(model), *(rf"(?:.*\.)?{re.escape(name)}" for name in names)]


def is_quantized(model: torch.nn.Module) -> bool:
    """Whether any weight of `model` is held in bitsandbytes' packed form."""
    return any(is_packed(parameter) for parameter in model.parameters())


def is_packed(parameter: torch.nn.Parameter) -> bool:
    """Whether one weight is packed: such weights keep their format and are never trained."""
    return type(parameter).__name__ in {"Params4bit", "Int8Params"}


def keep_trainable_after_evaluation(model: PreTrainedModel) -> None:
    """Stop bitsandbytes from repacking 4-bit weights for inference.

    On CPUs with AVX512-BF16 the first forward pass in evaluation mode rewrites the weights into a layout that has no
    backward pass, and `train()` does not undo it; every later training step would then fail or be wrong.
    """
    if not extras.is_installed("bitsandbytes"):
        return
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
