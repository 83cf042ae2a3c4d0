"""The way round for adapters that cannot be merged weight by weight: the whole model in memory, merged by PEFT.

Needed where transformers computes a changed weight from several stored ones (fused experts), where the vocabulary
grew, and for kinds of adapters that touch more than single weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from tunesmith.infer.open import open_weights
from tunesmith.infer.source import ModelSource
from tunesmith.models.quiet import quiet_transformers


def save_merged_whole(source: ModelSource, folder: Path, *, dtype: torch.dtype) -> None:
    """Load, merge, and write weights and configs into `folder` by transformers' own `save_pretrained`.

    The sum is made in `dtype`'s precision or float32, whichever is finer.
    """
    model: Any = open_weights(source, dtype=torch.promote_types(dtype, torch.float32))
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    _untie_if_apart(model)
    with quiet_transformers():
        model.to(dtype).save_pretrained(folder)


def _untie_if_apart(model: Any) -> None:
    """An adapter that trained only one of two tied weights leaves them different; a config that ties them would lie."""
    head = model.get_output_embeddings()
    if head is None or head.weight is model.get_input_embeddings().weight:
        return
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
