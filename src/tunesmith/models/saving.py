"""Write a model in the Hugging Face layout, or an adapter in PEFT's, so that it reads back as it was.

Where and when is the caller's matter (run folders, checkpoints); tokenizer and processor are written by
`Preprocessor.save`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tunesmith.config.tuning import AdapterLayout
from tunesmith.errors import ModelError
from tunesmith.models.adapters.native import write_published_adapter
from tunesmith.models.parts import input_embedding, is_inside, output_embedding, weight_of
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.score_head import classification_config, score_head

_SHARD_BYTES = 5 * 10**9
Weights = Mapping[str, torch.Tensor]


def save_trained(
    model: PreTrainedModel | PeftModel,
    folder: Path,
    *,
    weights: Weights | None = None,
    adapter_layout: AdapterLayout = "native",
) -> None:
    """Write what a training changed: the adapter where there is one, else the whole model.

    weights: the model's state_dict, tied weights under both names; None for what it is now. Given, the model may train
             on meanwhile
    """
    if isinstance(model, PeftModel):
        save_adapter(model, folder, weights=weights, layout=adapter_layout)
    else:
        save_model(model, folder, weights=weights)


def save_model(
    model: PreTrainedModel,
    folder: Path,
    *,
    weights: Weights | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Weights (safetensors), config and generation config into `folder`, created if absent. `weights`: see above.

    All weights are written in `dtype`; None takes the widest format among them, so nothing is rounded. A reward model
    that transformers has a classification class for is written as such: without an output head of its own.
    Raises ModelError if the folder cannot be written.
    """
    weights = model.state_dict() if weights is None else weights
    dtype = dtype or _widest_format(model, weights)
    scoring = classification_config(model.config) if score_head(model) is not None else None
    state = _in_format(weights, dtype)
    if scoring is not None:
        state = _without_output_head(model, state)
    _make_valid_generation_config(model)
    try:
        with quiet_transformers():
            model.save_pretrained(folder, state_dict=state, max_shard_size=max_shard_bytes)
    except OSError as error:
        raise ModelError(
            f"the model cannot be written to {folder}: {error}; free some space or choose another folder"
        ) from error
    _record_format(folder / "config.json", dtype)
    if scoring is not None:
        _record(folder / "config.json", scoring)


def save_adapter(
    model: PeftModel, folder: Path, *, weights: Weights | None = None, layout: AdapterLayout = "native"
) -> None:
    """adapter_config.json and adapter_model.safetensors into `folder`, created if absent. `weights`: see save_trained.

    The base is recorded by the name its settings gave (a repository, or an absolute path). Embeddings are written
    only where they train in full. `layout` published names and fuses layers as the model's publisher did.
    Raises ModelError if the folder cannot be written.
    """
    try:
        with quiet_transformers():
            # one beside it that the run compares with is none of its outcome
            model.save_pretrained(
                str(folder),
                save_embedding_layers=False,
                selected_adapters=[model.active_adapter],
                state_dict=None if weights is None else dict(weights),
            )
        if layout == "published":
            base: Any = model.get_base_model()
            write_published_adapter(folder, base.config)
    except OSError as error:
        raise ModelError(
            f"the adapter cannot be written to {folder}: {error}; free some space or choose another folder"
        ) from error


def _widest_format(model: PreTrainedModel, weights: Weights) -> torch.dtype:
    """Of the parameters; what an engine keeps finer than the model computes with (masters) is given finer."""
    parameters = (weights[name] for name, _ in model.named_parameters() if name in weights)
    return reduce(torch.promote_types, {weight.dtype for weight in parameters if weight.is_floating_point()})


def _in_format(weights: Weights, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights cast to `dtype`, tied ones still shared."""
    cast: dict[int, torch.Tensor] = {}
    state = dict(weights)
    for name, weight in weights.items():
        if weight.is_floating_point() and weight.dtype != dtype:
            state[name] = cast.setdefault(weight.data_ptr(), weight.to(dtype))
    return state


def _record_format(config: Path, dtype: torch.dtype) -> None:
    """transformers records the format of the first weight, which may be a frozen part's."""
    content = json.loads(config.read_text(encoding="utf-8"))
    name = str(dtype).removeprefix("torch.")
    stale = [key for key in ("dtype", "torch_dtype") if content.get(key) not in (name, None)]
    if stale or "dtype" not in content:
        content |= dict.fromkeys((*stale, "dtype"), name)
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _record(config: Path, changes: Mapping[str, Any]) -> None:
    content = json.loads(config.read_text(encoding="utf-8")) | changes
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _without_output_head(model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """No score depends on it, unless it is the input embedding too."""
    head = output_embedding(model)
    if head is None or weight_of(head) is weight_of(input_embedding(model)):
        return weights
    (name,) = (name for name, module in model.named_modules() if module is head)
    return {key: weight for key, weight in weights.items() if not is_inside(key, name)}


def _make_valid_generation_config(model: PreTrainedModel) -> None:
    """Some published models ship sampling values without `do_sample`, which transformers refuses to write."""
    if not model.can_generate() or model.generation_config is None:
        return
    try:
        model.generation_config.validate(strict=True)
    except ValueError:
        model.generation_config.do_sample = True
