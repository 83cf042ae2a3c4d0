"""What XTuner saved, a file or a DeepSpeed folder, as named tensors sorted by the part of the model they belong to.

    llm.base_model.model.….lora_A.default.weight     adapter of the language model (without adapter: llm.….weight)
    visual_encoder.….weight                          vision tower, with or without an adapter likewise
    projector.model.0.weight                         between the two

Knows these prefixes; how the parts are written elsewhere is `tunesmith.convert`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import ModelError
from tunesmith.models.pth.pickles import load_pickle
from tunesmith.models.pth.zero import is_zero_folder, read_zero

_PREFIXES = ("llm.", "visual_encoder.", "projector.")
_REFERENCE = "ref_llm."
"""DPO's reference model, which did not train."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors of each part by their names inside it; empty where nothing of a part was saved.

    config_text: the training's configuration, as mmengine keeps it in the checkpoint; None where there is none
    """

    source: Path
    language_model: Mapping[str, torch.Tensor]
    vision_tower: Mapping[str, torch.Tensor]
    projector: Mapping[str, torch.Tensor]
    config_text: str | None = None

    @property
    def reads_images(self) -> bool:
        """Whether the model that was trained is a LLaVA."""
        return bool(self.projector or self.vision_tower)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`. Raises ModelError for anything but a `.pth` of XTuner's, a file or a folder."""
    if not path.exists():
        raise ModelError(f"there is no checkpoint {path}; give XTuner's iter_N.pth, a file or a folder")
    if path.is_dir():
        return _from_folder(path)
    if is_zero_folder(path.parent) and path.suffix == ".pt":
        raise ModelError(f"{path} is one file of a DeepSpeed checkpoint: give its folder, {path.parent}")
    content = load_pickle(path)
    saved = content.get("state_dict", content) if isinstance(content, dict) else content
    return _sort(path, saved, content if saved is not content else {})


def is_adapter(weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether the tensors of a part are a LoRA adapter rather than the part itself."""
    return any(".lora_" in name for name in weights)


def _from_folder(folder: Path) -> Checkpoint:
    if not is_zero_folder(folder):
        inner = sorted(place for place in folder.glob("*.pth") if place.is_file() or is_zero_folder(place))
        hint = f"; did you mean {inner[-1]}?" if inner else ""
        raise ModelError(f"{folder} is no DeepSpeed checkpoint: it has no *_model_states.pt{hint}")
    saved = read_zero(folder)
    return _sort(folder, saved.weights, saved.model_state)


def _sort(source: Path, saved: Any, record: Mapping[str, Any]) -> Checkpoint:
    if not isinstance(saved, Mapping) or not all(isinstance(value, torch.Tensor) for value in saved.values()):
        raise ModelError(f"{source} holds no weights by name; give XTuner's iter_N.pth, a file or a folder")
    kept = {name: tensor for name, tensor in saved.items() if not name.startswith(_REFERENCE)}
    foreign = [name for name in kept if not name.startswith(_PREFIXES)]
    if foreign or not kept:
        example = f"the weight {foreign[0]}" if foreign else "no weights"
        raise ModelError(
            f"{source} holds {example}; a checkpoint of XTuner's has {', '.join(f'{p}…' for p in _PREFIXES)}"
        )
    language_model, vision_tower, projector = (_inside(kept, prefix) for prefix in _PREFIXES)
    text = (record.get("meta") or {}).get("cfg")
    known_text = text if isinstance(text, str) else None
    return Checkpoint(source, language_model, vision_tower, projector, config_text=known_text)


def _inside(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
