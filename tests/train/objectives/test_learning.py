"""It learns what it says: greedy answers to prompts that were never trained on change to the preferred style.

A tiny model first learns to answer in two styles, more often in the one that is then rejected.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import tunesmith
from tests.tiny import tiny_folder

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
SHAPES = ("circle", "square", "triangle", "star", "ring")
THINGS = [f"{colour} {shape}" for colour, shape in product(COLOURS, SHAPES)]
HELD_OUT = THINGS[::5]
TRAINED = [thing for thing in THINGS if thing not in HELD_OUT]


def question(thing: str) -> dict[str, str]:
    return {"role": "user", "content": f"What is in the picture? Is there a {thing}?"}


def chosen(thing: str) -> dict[str, str]:
    return {"role": "assistant", "content": f"There are {thing}s on the left."}


def rejected(thing: str) -> dict[str, str]:
    return {"role": "assistant", "content": f"你好,世界! {thing}"}


ROWS = {
    "pairs": [
        {"prompt": [question(thing)], "chosen": [chosen(thing)], "rejected": [rejected(thing)]} for thing in TRAINED
    ],
    "verdicts": [
        {"messages": [question(thing), answer(thing)], "label": answer is chosen}
        for thing in TRAINED
        for answer in (chosen, rejected)
    ],
}


def settings(model: Path, rows: Sequence[dict[str, Any]], folder: Path, **changes: Any) -> dict[str, Any]:
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return {
        "model_name_or_path": str(model),
        "dataset": str(folder / "rows.json"),
        "output_dir": str(folder / "run"),
        "finetuning_type": "full",
        "per_device_train_batch_size": 6,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "save_strategy": "no",
        "use_cpu": True,
        **changes,
    }


def share_in_chosen_style(folder: Path) -> float:
    """Of the greedy answers to held-out prompts."""
    model, processor = tunesmith.load(str(folder), device="cpu")
    answers = []
    for thing in HELD_OUT:
        text = processor.apply_chat_template([question(thing)], tokenize=False, add_generation_prompt=True)
        ids = processor(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            made = model.generate(input_ids=ids, max_new_tokens=24, do_sample=False)
        answers.append(processor.decode(made[0, ids.shape[1] :], skip_special_tokens=True))
    return sum(answer.startswith("There are") for answer in answers) / len(answers)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers in the style that is to be rejected."""
    folder = tmp_path_factory.mktemp("learning")
    rows = [{"messages": [question(t), answer(t)]} for t in TRAINED for answer in (rejected, rejected, chosen)]
    tiny = tiny_folder("qwen2", folder / "tiny")
    tunesmith.train(settings(tiny, rows, folder / "sft", learning_rate=3e-3, num_train_epochs=10))
    assert share_in_chosen_style(folder / "sft" / "run") <= 0.2
    return folder / "sft" / "run"


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("dpo", {"pref_beta": 0.3}),
        ("dpo", {"pref_ftx": 0.3, "finetuning_type": "lora", "lora_rank": 16}),
        ("orpo", {"pref_beta": 0.5}),
        ("simpo", {"pref_beta": 2.0, "simpo_gamma": 1.0}),
        ("kto", {}),
    ],
)
def test_greedy_answers_take_the_chosen_style(stage, changes, started, tmp_path):
    """At twice and at half this rate they do too, so that no rounding decides."""
    rows = ROWS["verdicts" if stage == "kto" else "pairs"]
    given = settings(started, rows, tmp_path / stage, stage=stage, learning_rate=5e-4, num_train_epochs=5, **changes)
    tunesmith.train(given)
    assert share_in_chosen_style(tmp_path / stage / "run") >= 0.8
