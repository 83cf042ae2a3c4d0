"""What a conversion is asked for. Loads nothing, so that a wrong command line is answered at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BaseModels:
    """The models a LLaVA's training started from: folders, or names on the hub."""

    language_model: str
    vision_tower: str


@dataclass(frozen=True, slots=True)
class PthRequest:
    """A checkpoint of XTuner's to convert.

    config:                       XTuner's config file; None takes what the checkpoint says of itself
    language_model, vision_tower: in place of what the config names
    lora_alpha:                   in place of the config's
    shard_gb:                     largest weight file (10^9 bytes)
    in_float32:                   write a language model in float32 rather than in its base's format
    keeps_parts:                  write a LLaVA as XTuner does, in parts
    """

    checkpoint: Path
    output: Path
    config: Path | None = None
    language_model: str | None = None
    vision_tower: str | None = None
    lora_alpha: float | None = None
    shard_gb: float = 2.0
    in_float32: bool = False
    keeps_parts: bool = False


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """A model and an adapter on it, to merge; folders, or names on the hub."""

    model: str
    adapter: str
    output: Path
    shard_gb: float = 2.0
    on_cpu: bool = True
    is_clip: bool = False
