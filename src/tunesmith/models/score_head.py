"""One number for a whole text: a linear layer `score` from the last token's hidden state, on any model.

It stands where transformers' classes for sequence classification have theirs, so what is written here is read there.
The hidden state is the one that the model's output embedding receives. Knows nothing of pairs or losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PretrainedConfig, PreTrainedModel

from tunesmith.errors import ModelError
from tunesmith.models.head import find_output_embedding, observe_hidden_states
from tunesmith.models.parts import SCORE_HEAD, core_model, input_embedding, output_embedding, weight_of
from tunesmith.models.quiet import quiet_transformers

SCORE_WEIGHT = f"{SCORE_HEAD}.weight"
_USUAL_STD = 0.02


def attach_score_head(model: PreTrainedModel, *, seed: int) -> None:
    """A new head on `model`, drawn as transformers draws that of its classification class."""
    generator = torch.Generator().manual_seed(seed)
    std = model.config.get_text_config().to_dict().get("initializer_range") or _USUAL_STD
    width = weight_of(input_embedding(model)).shape[1]
    put_score_head(model, torch.empty(1, _state_width(model, width)).normal_(std=std, generator=generator))


def put_score_head(model: PreTrainedModel, weight: Tensor) -> None:
    """`weight`, (1, H), as the model's head, on its device, in the finer of its format and the model's."""
    dtype = torch.promote_types(weight.dtype, _format_of(model))
    head = nn.Linear(weight.shape[1], 1, bias=False, device=model.device, dtype=dtype)
    if not head.weight.is_meta:
        with torch.no_grad():
            head.weight.copy_(weight)
    model.add_module(SCORE_HEAD, head.train(model.training))


def score_head(model: nn.Module) -> nn.Module | None:
    """The head of `model`, None where it has none; PEFT's wrapper is looked through."""
    return dict(core_model(model).named_children()).get(SCORE_HEAD)


def train_score_head(model: nn.Module) -> None:
    """Let the head train, and not the output embedding, which no score depends on unless it is the input's too."""
    head, core = score_head(model), core_model(model)
    if head is None:
        return
    head.requires_grad_(True)
    ends = output_embedding(core)
    if ends is not None and weight_of(ends) is not weight_of(input_embedding(core)):
        ends.requires_grad_(False)


def weights_of_heads(model: nn.Module) -> frozenset[str]:
    """Names of both heads' weights: a reward model's files may lack the one, a language model has not the other."""
    core = core_model(model)
    ends = output_embedding(core)
    names = [name for name, module in core.named_modules() if module is ends]
    return frozenset({SCORE_WEIGHT, *(f"{name}.{end}" for name in names for end in ("weight", "bias"))})


def scores_at(model: nn.Module, inputs: Mapping[str, Any], ends: Tensor) -> Tensor:
    """(A,) scores at the flat positions `ends`, (A,) int64 of B · T, with the graph, in the head's format.

    inputs: of the model's forward; enter `samples_apart` for packed ones. Raises ModelError where there is no head.
    """
    head, language_head = score_head(model), find_output_embedding(model)
    if head is None or language_head is None:
        raise ModelError(
            f"{type(core_model(model)).__name__} has no score head, which stage: rm gives a model; name "
            "a reward model as model_name_or_path, or its adapter as adapter_name_or_path"
        )
    hidden = observe_hidden_states(model, language_head, {**inputs, "use_cache": False})
    states = hidden.flatten(0, 1).index_select(0, ends)
    with torch.autocast(states.device.type, enabled=False):
        scores: Tensor = head(states.to(weight_of(head).dtype))
    return scores.squeeze(-1)


def classification_config(config: PretrainedConfig) -> dict[str, Any] | None:
    """What config.json says where transformers has a classification class for a model, None where it has none."""
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    found: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    if not _has_our_head(found, config):
        return None
    return {"architectures": [found.__name__], "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}


def _has_our_head(model_class: Any, config: PretrainedConfig) -> bool:
    with quiet_transformers(), torch.device("meta"):
        built: nn.Module = model_class(config)
    head = dict(built.named_children()).get(SCORE_HEAD)
    return isinstance(head, nn.Linear) and head.bias is None


def _state_width(model: PreTrainedModel, embedding_width: int) -> int:
    """H: how wide the states are that the output embedding receives."""
    head = output_embedding(model)
    width: int = embedding_width if head is None else weight_of(head).shape[-1]
    return width


def _format_of(model: PreTrainedModel) -> torch.dtype:
    return weight_of(input_embedding(model)).dtype
