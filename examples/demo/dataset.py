"""The demo's dataset as a user of LLaMA-Factory has one: pictures, sharegpt-style JSON and dataset_info.json."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from examples.demo.questions import IN_CHINESE, LANGUAGES, Question, translate_sentence
from examples.demo.scenes import Scene

NUM_TRANSLATED, NUM_REPEATS = 200, 4
"""How many sentences are translated, and how often each single word is."""

_ENTRY = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "images": "images"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}


def write_dataset(folder: Path, splits: dict[str, list[Scene]]) -> None:
    """Write every split ("train", …) in every language into `folder`, the translations, and dataset_info.json."""
    entries: dict[str, dict[str, Any]] = {}
    for split, scenes in splits.items():
        pictures = _write_pictures(folder, split, scenes)
        for language in LANGUAGES:
            name = f"shapes_{language}_{split}"
            rows = _rows(scenes, pictures, language=language)
            _write_json(folder / f"{name}.json", rows)
            entries[name] = {"file_name": f"{name}.json", **_ENTRY}
    _write_json(folder / "translations.json", _translations(splits["train"]))
    entries["translations"] = {"file_name": "translations.json"}
    _write_json(folder / "dataset_info.json", entries)


def _write_pictures(folder: Path, split: str, scenes: list[Scene]) -> list[str]:
    """Their paths, relative to `folder`."""
    paths = [f"{split}/{index:03d}.png" for index in range(len(scenes))]
    (folder / split).mkdir(parents=True, exist_ok=True)
    for path, scene in zip(paths, scenes, strict=True):
        scene.picture.save(folder / path)
    return paths


def _rows(scenes: list[Scene], pictures: list[str], *, language: str) -> list[dict[str, Any]]:
    """Two conversations a picture: the four short questions in any order, and the sentence."""
    shuffle = random.Random(language).shuffle
    rows = []
    for scene, picture in zip(scenes, pictures, strict=True):
        *short, sentence = LANGUAGES[language](scene)
        shuffle(short)
        rows += [_row(short, picture), _row([sentence], picture)]
    return rows


def _row(questions: list[Question], picture: str) -> dict[str, Any]:
    messages = []
    for question in questions:
        messages.append({"role": "user", "content": question.text})
        messages.append({"role": "assistant", "content": question.answer})
    messages[0]["content"] = "<image>" + messages[0]["content"]
    return {"messages": messages, "images": [picture]}


def _translations(scenes: list[Scene]) -> list[dict[str, str]]:
    """Text alone, in alpaca form: from these the model knows Chinese before it is ever asked in Chinese."""
    pairs = [*IN_CHINESE.items()] * NUM_REPEATS + [translate_sentence(scene) for scene in scenes[:NUM_TRANSLATED]]
    return [{"instruction": "Say in Chinese:", "input": english, "output": chinese} for english, chinese in pairs]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
