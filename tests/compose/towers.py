"""Tiny vision towers as they are published: CLIP and SigLIP, alone and as half of the model that also reads text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PretrainedConfig,
    PreTrainedModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 14,
}
_TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}


def _write(model_class: type[PreTrainedModel], config: PretrainedConfig, processor: Any, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model_class(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def _clip_pictures(size: int) -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def write_clip(folder: Path, *, size: int = 56, **changes: Any) -> None:
    """CLIP's vision model alone; 16 patches and a class token."""
    _write(CLIPVisionModel, CLIPVisionConfig(**{**_SIZES, "image_size": size, **changes}), _clip_pictures(size), folder)


def write_whole_clip(folder: Path) -> None:
    """CLIP as its repositories hold it."""
    config = CLIPConfig(text_config=_TEXT, vision_config={**_SIZES, "image_size": 56}, projection_dim=16)
    _write(CLIPModel, config, _clip_pictures(56), folder)


def write_siglip(folder: Path) -> None:
    """SigLIP's vision model alone; 16 patches, and the head that makes one vector of a picture."""
    config = SiglipVisionConfig(**_SIZES, image_size=56)
    _write(SiglipVisionModel, config, SiglipImageProcessor(size={"height": 56, "width": 56}), folder)


def write_whole_siglip(folder: Path) -> None:
    """SigLIP as its repositories hold it."""
    config = SiglipConfig(text_config=_TEXT, vision_config={**_SIZES, "image_size": 56})
    _write(SiglipModel, config, SiglipImageProcessor(size={"height": 56, "width": 56}), folder)


TOWERS: Mapping[str, Callable[[Path], None]] = {
    "clip": write_clip,
    "whole_clip": write_whole_clip,
    "siglip": write_siglip,
    "whole_siglip": write_whole_siglip,
}


def tower_folder(kind: str, folder: Path) -> Path:
    """Write the tiny tower `kind` (a key of TOWERS) into `folder`, created if absent, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    TOWERS[kind](folder)
    return folder
