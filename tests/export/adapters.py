"""Base models in float64 and random adapters on them, written as users have them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tunesmith.models.load import load_config, read_pretrained

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    return read_pretrained(folder, load_config(folder), dtype=dtype, device="cpu").eval()


def in_float64(folder: Path, target: Path) -> Path:
    """The same model with its weights stored in float64."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    save_file({key: tensor.double() for key, tensor in weights.items()}, target / "model.safetensors", {"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    for part in [config, *(value for value in config.values() if isinstance(value, dict))]:
        part.update({key: "float64" for key in ("dtype", "torch_dtype") if key in part})
    (target / "config.json").write_text(json.dumps(config))
    return target


def in_module_layout(folder: Path, target: Path) -> Path:
    """The same model stored under its parameters' present names instead of those of the hub."""
    shutil.copytree(folder, target)
    stored = load_file(target / "model.safetensors")
    model = load(folder)
    by_name = model.state_dict()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    kept = {key for key in by_name if key in stored or "lm_head" not in key or not tied}
    save_file({key: by_name[key].contiguous() for key in kept}, target / "model.safetensors", {"format": "pt"})
    return target


def write_adapter(base: Path, target: Path, **options: Any) -> Path:
    """A LoRA adapter of random weights on `base`, in the base's own number format. `options` are LoraConfig's."""
    model = load(base)
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": LINEAR} | options))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    adapted.to(model.dtype).save_pretrained(target, save_embedding_layers=False)
    return target


def logits(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    """(2, 24, vocabulary) on fixed ids."""
    ids = torch.randint(0, 500, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(input_ids=ids).logits
