"""One coloured shape on a grey ground, drawn at random and labelled by what was drawn; rows in LLaVA's form."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SIZE = 56
SHAPES = ("circle", "ring", "triangle", "cross")
COLOURS = {"red": (214, 48, 49), "yellow": (240, 205, 50), "green": (46, 160, 80), "blue": (50, 100, 215)}
QUESTIONS = {"shape": "What shape is it?", "colour": "What colour is it?"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and what is right about it."""

    shape: str
    colour: str
    picture: Image.Image

    def answer(self, kind: str) -> str:
        """The right answer to QUESTIONS[kind]."""
        return {"shape": self.shape, "colour": self.colour}[kind]


def draw_scenes(number: int, *, seed: int) -> list[Scene]:
    """`number` pictures, every shape and colour equally often, the same ones for the same seed."""
    chance = random.Random(seed)
    kinds = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    return [Scene(*kind, _draw(*kind, chance)) for kind in (kinds[index % len(kinds)] for index in range(number))]


def write_dataset(folder: Path, scenes: list[Scene]) -> None:
    """Pictures, a JSON list in LLaVA's form (`<image>` before, behind and amid the question), dataset_info.json."""
    rows = []
    for index, scene in enumerate(scenes):
        scene.picture.save(folder / f"{index}.png")
        rows += [_row(index, scene, kind, place) for place, kind in enumerate(QUESTIONS)]
    info = {"shapes": {"file_name": "shapes.json", "formatting": "llava"}}
    (folder / "shapes.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


def _row(index: int, scene: Scene, kind: str, place: int) -> dict[str, Any]:
    asked = QUESTIONS[kind]
    value = (f"<image>\n{asked}", f"{asked}\n<image>", f"See <image> here. {asked}")[(index + place) % 3]
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": scene.answer(kind)}]
    return {"id": f"{index}-{kind}", "image": f"{index}.png", "conversations": turns}


def _draw(shape: str, colour: str, chance: random.Random) -> Image.Image:
    grey = chance.randint(225, 250)
    picture = Image.new("RGB", (4 * SIZE, 4 * SIZE), (grey, grey, grey))
    pen = ImageDraw.Draw(picture)
    radius = chance.uniform(15, 22)
    x, y = (SIZE / 2 + chance.uniform(-3, 3) for _ in range(2))
    fill = tuple(level + chance.randint(-12, 12) for level in COLOURS[colour])
    if shape in ("circle", "ring"):
        pen.circle((4 * x, 4 * y), 4 * radius, fill=fill)
        pen.circle((4 * x, 4 * y), 2 * radius if shape == "ring" else 0, fill=(grey, grey, grey))
    else:
        pen.polygon([(4 * (x + a * radius), 4 * (y + b * radius)) for a, b in _CORNERS[shape]], fill=fill)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


_CORNERS = {
    "triangle": [(0, -1), (1, 0.8), (-1, 0.8)],
    "cross": [
        *[(-0.36, -1), (0.36, -1), (0.36, -0.36), (1, -0.36), (1, 0.36), (0.36, 0.36)],
        *[(0.36, 1), (-0.36, 1), (-0.36, 0.36), (-1, 0.36), (-1, -0.36), (-0.36, -0.36)],
    ],
}
"""Corners of each shape of radius 1 around (0, 0)."""
