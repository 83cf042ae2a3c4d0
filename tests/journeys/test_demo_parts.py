"""What the demo is made of: its pictures, its questions, its dataset and its way of counting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from examples.demo.dataset import write_dataset
from examples.demo.questions import KINDS, ask_in_chinese, ask_in_english
from examples.demo.scenes import CELL, COLOURS, CORNERS, SIZE, Scene, draw_scenes
from examples.demo.score import Answered, accuracy, chance


def a_scene(number: str = "two") -> Scene:
    picture = Image.new("RGB", (SIZE, SIZE))
    return Scene(shape="cross", colour="red", number=number, corner="top left", picture=picture)


def test_the_same_seed_draws_the_same_pictures_and_none_twice() -> None:
    one, again = draw_scenes(40, seed=7), draw_scenes(40, seed=7)
    assert [scene.picture.tobytes() for scene in one] == [scene.picture.tobytes() for scene in again]
    assert len({scene.picture.tobytes() for scene in one}) == 40


def test_a_picture_shows_what_its_label_says() -> None:
    for scene in draw_scenes(20, seed=1):
        column, row = CORNERS[scene.corner]
        box = (column * CELL, row * CELL, (column + 2) * CELL, (row + 2) * CELL)
        inside = np.asarray(scene.picture.crop(box), dtype=int)
        distance = np.abs(inside - np.array(COLOURS[scene.colour])).sum(axis=-1)
        assert (distance <= 36).any()
        outside = np.array(scene.picture, dtype=int)
        outside[row * CELL : (row + 2) * CELL, column * CELL : (column + 2) * CELL] = outside.max()
        assert outside.min() > 200


def test_questions_and_answers() -> None:
    assert [question.answer for question in ask_in_english(a_scene())] == [
        "cross",
        "red",
        "two",
        "top left",
        "Two red crosses in the top left.",
    ]
    assert ask_in_english(a_scene("one"))[-1].answer == "One red cross in the top left."
    assert ask_in_chinese(a_scene())[-1].answer == "两个红色的十字形在左上角。"
    assert [question.kind for question in ask_in_chinese(a_scene())] == list(KINDS)


def test_the_dataset_is_what_llama_factory_reads(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": draw_scenes(3, seed=1)})
    entries = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert sorted(entries) == ["shapes_chinese_train", "shapes_english_train", "translations"]
    rows = json.loads((tmp_path / entries["shapes_english_train"]["file_name"]).read_text(encoding="utf-8"))
    assert [len(row["messages"]) for row in rows] == [8, 2] * 3
    for row in rows:
        assert "".join(message["content"] for message in row["messages"]).count("<image>") == len(row["images"]) == 1
        assert (tmp_path / row["images"][0]).is_file()


def test_accuracy_counts_each_kind_by_itself() -> None:
    questions = ask_in_english(a_scene())
    given = ["cross", "blue", "two", "top left", "Two red crosses."]
    answered = [Answered(a_scene(), question, answer) for question, answer in zip(questions, given, strict=True)]
    expected = {"shape": 1.0, "colour": 0.0, "number": 1.0, "corner": 1.0, "sentence": 0.0, "all": 0.6}
    assert accuracy(answered) == expected


def test_chance_is_the_most_frequent_answer() -> None:
    scenes = [a_scene("one"), a_scene("one"), a_scene("two"), a_scene("four")]
    assert chance(scenes, language="english")["number"] == 0.5
    assert chance(scenes, language="english")["shape"] == 1.0
