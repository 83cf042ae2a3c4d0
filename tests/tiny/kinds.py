"""Which architectures there are tiny models of, and how each is configured.

A kind is a function that writes a complete model folder: tokenizer or processor, config, random weights.
Everything goes through transformers' own classes and `save_pretrained`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_TEMPLATES = Path(__file__).parent / "templates"

Builder = Callable[[Path], None]


def read_template(name: str) -> str:
    """The chat template of a family, in the family's own form."""
    return (_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def padded_vocab_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """The embedding's rows: the tokenizer's size rounded up to 32, as real models round theirs up."""
    return -(-len(tokenizer) // 32) * 32


def save_random_model(model_class: type[PreTrainedModel], config: PretrainedConfig, folder: Path) -> None:
    """Random float32 weights, the same on every call; biases and norms too, so that none stays at 0 or 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.to(torch.float32).save_pretrained(folder)
