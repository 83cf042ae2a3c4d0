"""Tiny MiniCPM-o's of known weights, and what was asked of the published code for golden/omni.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.models.families.minicpmv.known_weights import give_known_weights
from tests.models.families.minicpmv.sounds import sound
from tests.tiny.minicpm import write_files
from tunesmith.models.families.minicpmv.omni_model import MiniCPMOForConditionalGeneration
from tunesmith.models.load import load_config

VERSIONS = ("minicpmo_2_6", "minicpmo_4_5")
_AS_4_5: Mapping[str, Any] = {
    "version": "4.5",
    "attention_bias": False,
    "head_dim": 64,
    "audio_pool_step": 5,
    "stream_input": True,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a user says, its pictures' sizes and its sounds' names; chunk_input None is as the model's chat does."""

    text: str
    pictures: Sequence[tuple[int, int]] = ()
    sounds: Sequence[str] = ()
    chunk_input: bool | None = None

    def processor_inputs(self) -> dict[str, Any]:
        """Arguments for a processor; the answer is always the same."""
        said = self.text.replace("IMAGE", "(<image>./</image>)").replace("SOUND", "(<audio>./</audio>)")
        arguments: dict[str, Any] = {
            "text": f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\nA red circle.<|im_end|>\n"
        }
        if self.pictures:
            arguments["images"] = [picture(*size) for size in self.pictures]
        if self.sounds:
            arguments["audio"] = [sound(name) for name in self.sounds]
        if self.chunk_input is not None:
            arguments["audio_kwargs"] = {"chunk_input": self.chunk_input}
        return arguments


QUESTIONS: Mapping[str, Question] = {
    "text": Question("Hi."),
    "image_sound": Question("IMAGE\nWhat?\nSOUND", [(120, 90)], ["short"]),
    "two": Question("IMAGE\nSOUND\nor\nSOUND", [(300, 200)], ["short", "long"]),
    "one_run": Question("SOUND", (), ["long"], chunk_input=False),
}


def picture(width: int, height: int) -> Image.Image:
    """Stripes of three sorts."""
    rows, columns = np.mgrid[0:height, 0:width]
    bands = np.stack([columns * 3 % 256, rows * 5 % 256, (columns + rows) % 256], axis=-1)
    return Image.fromarray(bands.astype(np.uint8))


def write_omni_files(version: str, folder: Path) -> Path:
    """All files but the weights of one of VERSIONS."""
    folder.mkdir(parents=True, exist_ok=True)
    write_files("minicpmo_2_6", folder)
    if version == "minicpmo_4_5":
        change_config(folder, _AS_4_5)
        change_config(folder, {}, without=("chunk_input",))
    return folder


def change_config(folder: Path, changes: Mapping[str, Any], *, without: Sequence[str] = ()) -> None:
    """Set and remove keys of the folder's config.json."""
    file = folder / "config.json"
    content = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in content.items() if name not in without}
    file.write_text(json.dumps(kept), encoding="utf-8")


def build_omni(folder: Path) -> MiniCPMOForConditionalGeneration:
    """The model of a folder's config with known weights, in evaluation mode."""
    config: Any = load_config(folder)
    model = MiniCPMOForConditionalGeneration(config)
    give_known_weights(model)
    return model.eval()
