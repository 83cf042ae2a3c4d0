"""Published folders whose weights follow from names and shapes, so that the published code could be given the same.

What that code answered lies in golden/logits.json beside the tests: the ids, a config for each case, and the logits at
some positions.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tunesmith.models.families.table import find_family
from tunesmith.models.load import load_config, read_pretrained


def known_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """float32: a wave of height 0.4 whose phase is the name's, around 1 for norms."""
    wave = 0.4 * torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 + zlib.crc32(name.encode()) % 1000)
    return (wave + (len(shape) == 1 and "norm" in name)).reshape(shape).float()


def write_known_folder(folder: Path, config: dict[str, Any]) -> Path:
    """config.json and one weight file, its keys those that saving a model of this config writes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    family = find_family(config["model_type"])
    assert family is not None
    build: Any = family.model_class
    build(load_config(folder)).save_pretrained(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(folder / "model.safetensors").items()}
    weights = {name: known_weight(name, shape) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def read_golden(beside: str) -> dict[str, Any]:
    """golden/logits.json in the folder of the test file `beside`."""
    content: dict[str, Any] = json.loads((Path(beside).parent / "golden" / "logits.json").read_text(encoding="utf-8"))
    return content


def logits_at(folder: Path, golden: dict[str, Any]) -> torch.Tensor:
    """(positions, vocabulary) of the model in `folder`, float32."""
    model = read_pretrained(folder, load_config(folder), dtype=None, device="cpu").eval()
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor([golden["ids"]])).logits[0]
    return logits[golden["positions"]]
