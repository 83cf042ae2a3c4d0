"""Pictures of a few coloured shapes in one corner, drawn at random and labelled by what was drawn.

A picture is 112 x 112 pixels: 4 x 4 cells of 28 pixels, each of which Qwen2.5-VL turns into one token. Knows nothing of
questions or of a model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw

CELL = 28
SIZE = 4 * CELL
SMOOTHING = 4
"""Pictures are drawn this many times larger and shrunk, which smooths their edges."""

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (214, 48, 49),
    "orange": (235, 140, 30),
    "yellow": (240, 205, 50),
    "green": (46, 160, 80),
    "blue": (50, 100, 215),
    "purple": (140, 70, 190),
}
NUMBERS = ("one", "two", "three", "four")
CORNERS = {"top left": (0, 0), "top right": (2, 0), "bottom left": (0, 2), "bottom right": (2, 2)}
"""The first cell (column, row) of the four that belong to a corner."""

Point = tuple[float, float]

_POLYGONS: dict[str, list[Point]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (1, 0.8), (-1, 0.8)],
    "cross": [
        *[(-0.36, -1), (0.36, -1), (0.36, -0.36), (1, -0.36), (1, 0.36), (0.36, 0.36)],
        *[(0.36, 1), (-0.36, 1), (-0.36, 0.36), (-1, 0.36), (-1, -0.36), (-0.36, -0.36)],
    ],
}
"""Corners of each shape of radius 1 around (0, 0)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One labelled picture: `number` of the same `shape` in the same `colour`, all in one `corner`."""

    shape: str
    colour: str
    number: str
    corner: str
    picture: Image.Image


def draw_scenes(num_scenes: int, *, seed: int) -> list[Scene]:
    """`num_scenes` different pictures, the same ones for the same seed."""
    chance = random.Random(seed)
    scenes: dict[bytes, Scene] = {}
    while len(scenes) < num_scenes:
        scene = _draw_scene(chance)
        scenes.setdefault(scene.picture.tobytes(), scene)
    return list(scenes.values())


def _draw_scene(chance: random.Random) -> Scene:
    shape, number = chance.choice(SHAPES), chance.choice(NUMBERS)
    colour, corner = chance.choice(list(COLOURS)), chance.choice(list(CORNERS))
    grey = chance.randint(236, 250)
    canvas = Image.new("RGB", (SIZE * SMOOTHING, SIZE * SMOOTHING), (grey, grey, grey))
    pen = ImageDraw.Draw(canvas)
    for (x, y), radius in _places(chance, corner=corner, number=number):
        shade = tuple(level + chance.randint(-12, 12) for level in COLOURS[colour])
        if shape == "circle":
            pen.circle((SMOOTHING * x, SMOOTHING * y), SMOOTHING * radius, fill=shade)
        else:
            outline = [(x + a * radius, y + b * radius) for a, b in _POLYGONS[shape]]
            pen.polygon([(SMOOTHING * x, SMOOTHING * y) for x, y in outline], fill=shade)
    picture = canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return Scene(shape=shape, colour=colour, number=number, corner=corner, picture=picture)


def _places(chance: random.Random, *, corner: str, number: str) -> Iterator[tuple[Point, float]]:
    """Centre and radius of every shape, in pixels: each lies anywhere within a cell of its own."""
    cells = [(0, 0), (1, 0), (0, 1), (1, 1)]
    first_column, first_row = CORNERS[corner]
    for column, row in chance.sample(cells, NUMBERS.index(number) + 1):
        radius = chance.uniform(10, 12.5)
        room = CELL / 2 - radius
        x = (first_column + column + 0.5) * CELL + chance.uniform(-room, room)
        y = (first_row + row + 0.5) * CELL + chance.uniform(-room, room)
        yield (x, y), radius
