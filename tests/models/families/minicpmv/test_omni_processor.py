"""MiniCPM-o's processor: ids of the published one (golden/omni.json), sound among pictures, the folder it writes."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.families.minicpmv.omni import QUESTIONS, VERSIONS, Question, write_omni_files
from tests.models.families.minicpmv.sounds import RATE, sound, tone
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.expansion import Replacements
from tunesmith.data.encoding.media_shape import AudioShape
from tunesmith.errors import UsageError
from tunesmith.models.families.minicpmv.processor import MiniCPMVProcessor, read_processor
from tunesmith.models.preprocessing.processor import read_preprocessor

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden/omni.json").read_text())
CASES = [(version, name) for version in VERSIONS for name in GOLDEN[version]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {version: write_omni_files(version, tmp_path_factory.mktemp(version)) for version in VERSIONS}


@pytest.fixture(scope="module")
def processor(folders: dict[str, Path]) -> MiniCPMVProcessor:
    return read_processor(folders["minicpmo_2_6"])


@pytest.mark.parametrize(("version", "name"), CASES)
def test_ids_are_those_of_the_published_processor(folders: dict[str, Path], version: str, name: str) -> None:
    published = list(chain.from_iterable([token] * times for token, times in GOLDEN[version][name]["ids"]))

    found = read_processor(folders[version])(**QUESTIONS[name].processor_inputs())

    assert found["input_ids"].tolist() == [published]


def test_sounds_of_several_texts_lie_behind_each_other(processor: MiniCPMVProcessor) -> None:
    made = processor(
        ["(<audio>./</audio>) and (<image>./</image>)", "nothing", "(<audio>./</audio>)"],
        images=[[QUESTIONS["image_sound"].processor_inputs()["images"][0]], [], []],
        audio=[[sound("long")], [], [sound("short")]],
    )

    assert made["audio_features"].shape == (3, 16, 3000)
    assert made["audio_feature_lens"].tolist() == [3000, 105, 147]
    assert made["audio_clip_sizes"].tolist() == [2, 1]
    assert made["input_ids"].shape[0] == 3


def test_a_chat_with_parts_says_where_sound_stands(processor: MiniCPMVProcessor) -> None:
    parts = [{"type": "audio"}, {"type": "text", "text": "What is it?"}, {"type": "image"}]

    text = processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)

    assert "(<audio>./</audio>)\nWhat is it?(<image>./</image>)" in text or (
        "(<audio>./</audio>)\nWhat is it?\n(<image>./</image>)" in text
    )


def test_sound_and_markers_must_be_as_many(processor: MiniCPMVProcessor) -> None:
    with pytest.raises(ValueError, match=r"the text has 1 .* but 2 media were given"):
        processor("(<audio>./</audio>)", audio=[sound("short"), sound("odd")])


@pytest.mark.parametrize("version", VERSIONS)
def test_counting_without_spectrograms_is_what_a_call_makes(folders: dict[str, Path], version: str) -> None:
    preprocessor = read_preprocessor(folders[version], media=MediaSettings())
    replacements = Replacements(preprocessor)
    drawn = np.random.default_rng(1)
    for num_samples in [30 * RATE, 30 * RATE + 1, 30 * RATE - 1, *drawn.integers(1000, 65 * RATE, 4).tolist()]:
        made = read_processor(folders[version])("(<audio>./</audio>)", audio=[tone(num_samples, 440)])

        text = replacements([AudioShape(num_samples)])[0]

        assert preprocessor.tokenizer(text)["input_ids"] == made["input_ids"][0].tolist()


def test_a_long_file_is_not_cut(folders: dict[str, Path]) -> None:
    assert read_preprocessor(folders["minicpmo_2_6"], media=MediaSettings()).max_audio_samples is None


@pytest.mark.parametrize("version", VERSIONS)
def test_what_it_writes_is_read_back_without_the_models_config(
    folders: dict[str, Path], version: str, tmp_path: Path
) -> None:
    processor = read_processor(folders[version])
    processor.save_pretrained(tmp_path)
    published, written = (
        json.loads((folder / "preprocessor_config.json").read_text()) for folder in (folders[version], tmp_path)
    )

    again = read_processor(tmp_path)

    assert not (tmp_path / "config.json").exists()
    assert {name: written[name] for name in published} == published
    question = Question("SOUND What? IMAGE", [(120, 90)], ["short"])
    first, second = (one(**question.processor_inputs()) for one in (processor, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_video_and_its_sound_by_turns_is_refused_before_any_row(folders: dict[str, Path]) -> None:
    with pytest.raises(
        UsageError, match=r"use_audio_in_video: true, but for this model .* is not built; leave the key"
    ):
        read_preprocessor(folders["minicpmo_2_6"], media=MediaSettings(use_audio_in_video=True))
