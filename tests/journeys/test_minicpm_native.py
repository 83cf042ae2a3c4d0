"""MiniCPM-V 4.6 on the language model that it is published with, and 4.7: pictures, videos, text; adapter and merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import tunesmith as public
from tests.data import recordings
from tests.journeys.given import losses, tunesmith
from tests.tiny import KINDS, minicpm_native

MODELS: dict[str, Callable[[Path], None]] = {
    "4.6": minicpm_native.build_minicpmv4_6_as_published,
    "4.7": minicpm_native.build_minicpmv4_7,
}
each_version = pytest.mark.parametrize(
    "version", ["4.6", pytest.param("4.7", marks=pytest.mark.skipif("minicpmv4_7" not in KINDS, reason="5.18 has it"))]
)
pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of different sizes in a row, one that is sliced, a video, a picture with a video, text alone."""
    Image.new("RGB", (120, 90), (210, 40, 40)).save(tmp_path / "small.png")
    Image.new("RGB", (300, 200), (40, 160, 70)).save(tmp_path / "sliced.png")
    recordings.video(tmp_path / "clip.mp4", num_frames=10)
    rows = [
        _row("<image><image>And?", "Yes.", images=["small.png", "sliced.png"]),
        _row("<image>And?", "No.", images=["sliced.png"]),
        _row("<video>What?", "It grows.", videos=["clip.mp4"]),
        _row("<image>Look.<video>What?", "It grows.", images=["small.png"], videos=["clip.mp4"]),
        _row("hi", "Text."),
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def _row(question: str, answer: str, **media: list[str]) -> dict[str, object]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "images": [], "videos": [], **media}


def _model(version: str, folder: Path) -> Path:
    folder.mkdir()
    MODELS[version](folder)
    return folder


def _settings(model: Path, rows: Path, output: Path, *more: str) -> list[str]:
    return [
        *(f"model_name_or_path={model}", f"dataset={rows}", f"output_dir={output}", "use_cpu=true", *more),
        *("per_device_train_batch_size=3", "max_steps=4", "logging_steps=1", "learning_rate=1e-2", "cutoff_len=512"),
    ]


@each_version
def test_all_of_it_trains_on_every_kind_of_row(version: str, data: Path, tmp_path: Path) -> None:
    parts = ("freeze_vision_tower=false", "freeze_multi_modal_projector=false")
    model = _model(version, tmp_path / "model")
    tunesmith("train", *_settings(model, data, tmp_path / "run", "finetuning_type=full", *parts))
    logged = losses(tmp_path / "run")
    assert logged[-1] < logged[0] - 0.5


@each_version
def test_an_adapter_at_4x_answers_and_merges(version: str, data: Path, tmp_path: Path) -> None:
    model, run, merged = _model(version, tmp_path / "model"), tmp_path / "run", tmp_path / "merged"
    tunesmith("train", *_settings(model, data, run, "downsample_mode=4x", "freeze_vision_tower=false"))
    adapted, processor = public.load(run, device="cpu")
    assert adapted.get_base_model().config.downsample_mode == processor.image_processor.downsample_mode == "4x"

    for medium in ("image=" + str(data.parent / "sliced.png"), "video=" + str(data.parent / "clip.mp4")):
        tunesmith("chat", run, f"--{medium}", "--prompt", "And?", "max_new_tokens=2", "use_cpu=true")
    tunesmith("export", run, f"export_dir={merged}")
    assert {path.name for path in merged.iterdir()} >= {path.name for path in model.iterdir()}


def test_the_published_4_6_is_padded_and_says_why(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _model("4.6", tmp_path / "model")
    tunesmith("train", *_settings(model, data, tmp_path / "run"))
    assert "does not keep the samples of one sequence apart" in capsys.readouterr().err
