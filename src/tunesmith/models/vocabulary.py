"""Tokens added by settings, and an embedding that has a row for every token.

Nothing is resized without `resize_vocab: true`; the new rows start at the mean of the old ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith import log
from tunesmith.config.model import ModelSettings
from tunesmith.errors import UsageError
from tunesmith.models.adapters.native import published_layers_of
from tunesmith.models.families.table import find_family
from tunesmith.models.files.weight_files import check_config
from tunesmith.models.parts import input_embedding, output_embedding, weight_of

_ROUND_TO_ROWS = 64
"""Embeddings grow to a multiple of this, which matrix multiplication on GPUs prefers."""


def add_tokens(tokenizer: PreTrainedTokenizerBase, model: ModelSettings) -> int:
    """Add `add_tokens` and `add_special_tokens` to the tokenizer; how many were new.

    Raises UsageError if that needs rows the embedding cannot get because `resize_vocab` is false.
    """
    num_added = 0
    if model.add_tokens:
        num_added += tokenizer.add_tokens(list(model.add_tokens), special_tokens=False)
    if model.add_special_tokens:
        num_added += tokenizer.add_tokens(list(model.add_special_tokens), special_tokens=True)
    if num_added and not model.resize_vocab:
        raise UsageError(
            f"add_tokens and add_special_tokens bring {num_added} new tokens, which need rows in the embedding: set "
            "resize_vocab: true"
        )
    return num_added


def fit_embeddings(model: PreTrainedModel, folder: Path, settings: ModelSettings) -> None:
    """Grow the embedding (and output head) of `model` to its tokenizer where `resize_vocab` allows it."""
    if not settings.resize_vocab:
        return
    tokenizer = read_tokenizer(folder)
    add_tokens(tokenizer, settings)
    grow_to_tokens(model, len(tokenizer))


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, as it was published."""
    family = find_family(check_config(folder).get("model_type"))
    read = family.read_preprocessing(folder) if family else AutoTokenizer.from_pretrained(folder)
    tokenizer: PreTrainedTokenizerBase = read if isinstance(read, PreTrainedTokenizerBase) else read.tokenizer
    return tokenizer


def grow_to_tokens(model: PreTrainedModel, num_tokens: int) -> None:
    """Grow the embedding (and output head) of `model` where it has fewer rows than `num_tokens`."""
    num_rows = _num_rows(model)
    if num_tokens > num_rows:
        _grow(model, -(-num_tokens // _ROUND_TO_ROWS) * _ROUND_TO_ROWS)
        log.info(f"embedding grown from {num_rows} to {_num_rows(model)} rows for {num_tokens} tokens")


def grow_to_adapter(model: PreTrainedModel, adapter: Path) -> None:
    """Give `model` as many rows as the embedding stored beside the adapter in folder `adapter`, if one is."""
    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        return
    native = next(name for name, module in model.named_modules() if module is input_embedding(model))
    layers = published_layers_of(model.config)
    names = {native} | ({layers.to_published(native)} if layers else set())
    ends = tuple(f"{name}.weight" for name in names)
    with safe_open(file, framework="pt") as stored:
        rows = [stored.get_slice(key).get_shape()[0] for key in stored.keys() if key.endswith(ends)]  # noqa: SIM118
    if rows and rows[0] > _num_rows(model):
        _grow(model, rows[0])


def _num_rows(model: PreTrainedModel) -> int:
    return weight_of(input_embedding(model)).shape[0]


def _grow(model: PreTrainedModel, num_rows: int) -> None:
    num_old = _num_rows(model)
    model.resize_token_embeddings(new_num_tokens=num_rows, mean_resizing=False)
    _start_at_mean(model, num_old)


def _start_at_mean(model: PreTrainedModel, num_old: int) -> None:
    for module in (input_embedding(model), output_embedding(model)):
        if module is not None:
            with torch.no_grad():
                weight_of(module)[num_old:] = weight_of(module)[:num_old].mean(dim=0)
