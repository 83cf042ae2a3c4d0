"""Rows that a setting or a published file of the model makes other tokens of are not taken from the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.conversations import build_encoder
from tests.tiny import tiny_folder
from tunesmith.config.data import DataSettings
from tunesmith.config.model import MediaSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.encoding.encode import build_template
from tunesmith.data.encoding.encoder_key import encoder_key
from tunesmith.models.preprocessing.processor import read_preprocessor


def key_of(folder: Path, **media: Any) -> str:
    preprocessor = read_preprocessor(folder, media=MediaSettings(**media))
    data = DataSettings()
    return encoder_key(preprocessor, build_template(preprocessor, data), data)


def test_what_a_stage_learns_from(tmp_path: Path) -> None:
    preprocessor = read_preprocessor(tiny_folder("qwen2", tmp_path / "model"), media=MediaSettings())
    kinds: list[RowKind] = ["documents", "conversations", "pairs", "verdicts", "prompts"]
    assert len({build_encoder(preprocessor, kind).key for kind in kinds}) == len(kinds)


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def test_settings_of_slices_and_of_packed_frames(tmp_path: Path) -> None:
    folder = tiny_folder("minicpmv_4_5", tmp_path / "model")
    settings: list[dict[str, Any]] = [
        {},
        {"max_slice_nums": 2},
        {"time_scale": 0.2},
        {"enable_high_fps": True},
        {"enable_high_fps": True, "packing_maxlen": 2},
        {"enable_high_fps": True, "double_frame_duration": 0},
    ]
    assert len({key_of(folder, **media) for media in settings}) == len(settings)
    assert key_of(folder) == key_of(folder)


@pytest.mark.parametrize(
    ("kind", "file", "values"),
    [
        ("minicpmv_4_5", "preprocessor_config.json", {"image_feature_size": 7}),
        ("minicpmv_4_5", "config.json", {"batch_3d_resampler": False}),
        ("minicpmo_2_6", "config.json", {"chunk_input": False}),
        ("minicpmo_2_6", "config.json", {"audio_pool_step": 4}),
    ],
)
def test_what_the_model_s_files_say_of_media(kind: str, file: str, values: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_folder(kind, tmp_path / "model")
    before = key_of(folder)
    change(folder / file, **values)
    assert key_of(folder) != before
