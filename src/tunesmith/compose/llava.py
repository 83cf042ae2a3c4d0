"""Language model and vision tower in one model of transformers' LLaVA class, with a fresh projector between them.

No weight is copied: the joined model takes over the tensors of its halves. That it still writes what the language
model wrote is checked on the spot, since transformers' LLaVA has its own output head, a plain matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PretrainedConfig,
)
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.initialization import no_init_weights

from tunesmith.compose.language_model import LanguageModel
from tunesmith.compose.vision_tower import FEATURE_LAYER, VisionTower
from tunesmith.errors import ModelError
from tunesmith.models.parts import input_embedding, output_embedding, weight_of
from tunesmith.models.quiet import quiet_transformers

_FINAL_NORMS = ("norm", "layernorm", "ln_f")
_MULTIPLIED_BY, _DIVIDED_BY = "logit_scale", "logits_scaling"
"""The config keys by which models of transformers scale their logits."""

_NUM_PROBE_TOKENS = 12
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_COARSE_TOLERANCE = 0.05
"""Largest difference of logits, as a share of their spread; formats of 16 bits get the coarse one."""


def join(language: LanguageModel, tower: VisionTower, *, seed: int) -> Any:
    """The joined LlavaForConditionalGeneration, its projector random by `seed` and by the model's own rule.

    Raises ModelError where transformers' LLaVA cannot hold the language model, or would not write what it writes.
    """
    expected = _probe(language.model)
    config = _build_config(language, tower)
    model = _build_empty(config, language.dtype)
    _take_over(model.model.language_model, language.model.base_model)
    _take_over(model.model.vision_tower, tower.model)
    _take_over_head(model, language)
    _fold_head_scale(model, language.config)
    _start_projector(model, seed=seed)
    _require_same(_probe(model.eval()), expected, dtype=language.dtype)
    model.generation_config = language.model.generation_config
    # Saved as published LLaVA models are, which readers beside transformers expect: as if it had been read from one.
    model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)
    return model


def _build_config(language: LanguageModel, tower: VisionTower) -> LlavaConfig:
    image_token_id: Any = language.tokenizer.convert_tokens_to_ids(language.image_token)
    is_tied = _is_tied(language) and _ties_by_name(language)
    return LlavaConfig(
        text_config=_text_config(language.config, is_tied=is_tied),
        vision_config=_for_any_place(tower.config),
        image_token_index=image_token_id,
        image_seq_length=tower.num_image_tokens,
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy=tower.select_strategy,
        tie_word_embeddings=is_tied,
    )


def _text_config(config: PretrainedConfig, *, is_tied: bool) -> dict[str, Any]:
    own = _for_any_place(config)
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    # Other readers build the language model by its own class, head included: its scale is in the norm by now.
    folded = {key: 1.0 for key in (_MULTIPLIED_BY, _DIVIDED_BY) if own.get(key) is not None}
    return {**own, **folded, "architectures": [causal.__name__], "tie_word_embeddings": is_tied}


def _for_any_place(config: PretrainedConfig) -> dict[str, Any]:
    """Its keys, without the path on this machine that it was read from."""
    return {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}


def _is_tied(language: LanguageModel) -> bool:
    head = output_embedding(language.model)
    return head is not None and weight_of(head) is weight_of(input_embedding(language.model))


def _ties_by_name(language: LanguageModel) -> bool:
    """Whether the embedding has the name by which transformers' LLaVA ties its head to it."""
    tied: Any = LlavaForConditionalGeneration._tied_weights_keys
    embedding = input_embedding(language.model)
    name = next(name for name, module in language.model.base_model.named_modules() if module is embedding)
    return f"model.language_model.{name}.weight" in tied.values()


def _build_empty(config: Any, dtype: torch.dtype) -> Any:
    """The model with weights not yet written to, which take no memory, and buffers (rotations) that are right."""
    build: Any = LlavaForConditionalGeneration._from_config
    try:
        with quiet_transformers(), no_init_weights():
            model: Any = build(config, dtype=dtype)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0]  # a list of every model of transformers may follow
        raise ModelError(
            f"transformers' LLaVA cannot be built around a {config.text_config.model_type} language model: {reason}"
        ) from error
    return model


def _take_over(place: nn.Module, source: nn.Module) -> None:
    try:
        place.load_state_dict(source.state_dict(), assign=True)
    except RuntimeError as error:
        raise ModelError(f"transformers' LLaVA has other weights for this model than it has itself: {error}") from error


def _take_over_head(model: Any, language: LanguageModel) -> None:
    head = output_embedding(language.model)
    assert head is not None
    weight = weight_of(head)
    if model.config.tie_word_embeddings:
        model.tie_weights()
        return
    own = weight.detach().clone() if _is_tied(language) else weight.detach()
    model.lm_head.weight = nn.Parameter(own)


def _fold_head_scale(model: Any, config: PretrainedConfig) -> None:
    """Some models scale their logits by a constant, which LLaVA's class does not do: the final norm takes it over."""
    scale = _head_scale(config.to_dict())
    if scale == 1.0:
        return
    final = [module for name, module in model.model.language_model.named_children() if name.endswith(_FINAL_NORMS)]
    with torch.no_grad():
        for parameter in (parameter for module in final for parameter in module.parameters()):
            parameter.mul_(scale)


def _head_scale(config: dict[str, Any]) -> float:
    return float(config.get(_MULTIPLIED_BY) or 1.0) / float(config.get(_DIVIDED_BY) or 1.0)


def _start_projector(model: Any, *, seed: int) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in model.model.multi_modal_projector.modules():
            model._init_weights(module)


@torch.inference_mode()
def _probe(model: Any) -> torch.Tensor:
    """(T, vocabulary) logits of a few tokens."""
    ids = torch.arange(1, _NUM_PROBE_TOKENS + 1)[None]
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits.double()


def _require_same(found: torch.Tensor, expected: torch.Tensor, *, dtype: torch.dtype) -> None:
    difference = ((found - expected).abs().max() / expected.std()).item()
    if not difference <= _TOLERANCE.get(dtype, _COARSE_TOLERANCE):
        raise ModelError(
            f"transformers' LLaVA would write other text than this language model (logits differ by {difference:.2g} "
            "of their spread): its output head is more than a matrix (a bias, a soft cap); choose another one"
        )
