"""Runs of stage rm on tiny models, and pairs whose rule a small model can learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.train.runs import run, run_settings
from tunesmith.train.result import TrainResult

_SUBJECTS = (
    "the tax",
    "a bike",
    "my garden",
    "rain",
    "the exam",
    "this code",
    "a recipe",
    "the trip",
    "our cat",
    "Rome",
)
_KIND = ("Gladly:", "Of course,", "With pleasure,", "Sure, here you are:")
_RUDE = ("No.", "Why ask me?", "Never,", "Find it yourself:")
_COLOURS = {"red": (220, 20, 30), "blue": (20, 40, 220)}


def kind_pairs(folder: Path, *, count: int, first: int = 0, name: str = "pairs.json") -> Path:
    """`count` pairs in which the kind answer is the chosen one, whatever was asked and whatever the rest of it says."""
    rows = []
    for number in range(first, first + count):
        subject = _SUBJECTS[number % len(_SUBJECTS)]
        rest, other_rest = f"{subject} has {number % 7} parts.", f"{subject} has {number * 3 % 11} parts."
        rows.append(
            {
                "prompt": [{"role": "user", "content": f"What about {subject}, number {number}?"}],
                "chosen": [{"role": "assistant", "content": f"{_KIND[number // 3 % 4]} {rest}"}],
                "rejected": [{"role": "assistant", "content": f"{_RUDE[number // 2 % 4]} {other_rest}"}],
            }
        )
    return _write(folder / name, rows)


def colour_pairs(folder: Path, *, count: int, first: int = 0, name: str = "pairs.json") -> Path:
    """`count` pictures of one colour each, the chosen answer names it: which is right can only be seen."""
    rows = []
    for number in range(first, first + count):
        colour, other = ("red", "blue") if number % 2 else ("blue", "red")
        shade = tuple(max(0, part - 5 * (number % 5)) for part in _COLOURS[colour])
        file = folder / f"{number}.png"
        Image.new("RGB", (56, 56), shade).save(file)
        rows.append(
            {
                "messages": [{"role": "user", "content": "<image>Which colour is this?"}],
                "chosen": {"role": "assistant", "content": f"It is {colour}."},
                "rejected": {"role": "assistant", "content": f"It is {other}."},
                "images": [str(file)],
            }
        )
    return _write(folder / name, rows)


def reward_run(model: Path, rows: Path, output: Path, **changes: Any) -> TrainResult:
    """Train on the CPU; see run_settings for what is not changed."""
    return run(run_settings(model, rows, output, stage="rm", **{"lora_dropout": 0.0, **changes}))


def _write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file
