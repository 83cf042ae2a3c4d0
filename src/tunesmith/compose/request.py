"""What is asked for: which two models, and where the joined one is written. Loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_SEED = 42


@dataclass(frozen=True, slots=True)
class Request:
    """One joining.

    language_model, vision_tower: folders, or names on the hub
    output:                       the folder to write
    seed:                         of the projector's random weights
    overwrite_output_dir:         whether a model in `output` may be replaced
    """

    language_model: str
    vision_tower: str
    output: Path
    seed: int = DEFAULT_SEED
    overwrite_output_dir: bool = False
