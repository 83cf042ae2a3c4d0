"""The folder that XTuner converts a LLaVA into: its parts beside each other, each in a layout of transformers or PEFT.

    projector/                  config.json, model.safetensors or pytorch_model.bin: model.0.*, model.2.*
    llm_adapter/                or the language model at the root, or neither where it stayed as it was
    visual_encoder_adapter/     or visual_encoder/, or neither

Looks at names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import ModelError
from tunesmith.models.files.trained import holds_adapter

PROJECTOR = "projector"
LANGUAGE_ADAPTER = "llm_adapter"
VISION_ADAPTER = "visual_encoder_adapter"
VISION_TOWER = "visual_encoder"


@dataclass(frozen=True, slots=True)
class LlavaParts:
    """Where each part lies; None where the folder has none, and the model's own is meant."""

    projector: Path
    language_model: Path | None
    language_adapter: Path | None
    vision_tower: Path | None
    vision_adapter: Path | None


def is_llava_folder(folder: Path) -> bool:
    """Whether `folder` is a LLaVA in XTuner's layout."""
    return (folder / PROJECTOR / "config.json").is_file()


def find_llava_parts(folder: Path) -> LlavaParts:
    """The parts in `folder`. Raises ModelError where it is not in XTuner's layout."""
    if not is_llava_folder(folder):
        raise ModelError(f"{folder} is no LLaVA in XTuner's layout: it has no {PROJECTOR}/config.json")
    tower = folder / VISION_TOWER
    return LlavaParts(
        projector=folder / PROJECTOR,
        language_model=folder if (folder / "config.json").is_file() else None,
        language_adapter=_adapter(folder / LANGUAGE_ADAPTER),
        vision_tower=tower if (tower / "config.json").is_file() else None,
        vision_adapter=_adapter(folder / VISION_ADAPTER),
    )


def refuse_llava_folder(folder: Path) -> None:
    """Raise ModelError with the command that converts a LLaVA in XTuner's layout, if `folder` is one."""
    if not is_llava_folder(folder):
        return
    known = find_llava_parts(folder)
    language = str(folder) if known.language_model else "THE_LANGUAGE_MODEL_IT_WAS_TRAINED_FROM"
    tower = str(known.vision_tower or "THE_VISION_TOWER_IT_WAS_TRAINED_FROM")
    raise ModelError(
        f"{folder} is a LLaVA in XTuner's layout, in pieces; join them first: tunesmith convert xtuner_llava {folder} "
        f"--language_model {language} --vision_tower {tower} --output JOINED"
    )


def _adapter(folder: Path) -> Path | None:
    return folder if holds_adapter(folder) else None
