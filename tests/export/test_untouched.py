"""Weights of the base that the model has no place for are in every export, whichever way it is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.export.adapters import write_adapter
from tests.tiny import tiny_folder
from tests.train.runs import run, run_settings, write_rows
from tunesmith.export.run import export
from tunesmith.infer.source import find_source

SPEECH = {"tts.decoder.weight": torch.arange(6.0).reshape(2, 3), "tts.codes": torch.arange(4)}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny Qwen2 whose file also holds a part that no class of transformers builds."""
    folder = tiny_folder("qwen2", tmp_path / "base")
    stored = load_file(folder / "model.safetensors")
    save_file({**stored, **SPEECH}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def exported(source: Path, target: Path) -> dict[str, torch.Tensor]:
    export(find_source(source, [f"export_dir={target}", "use_cpu=true"]))
    return load_file(target / "model.safetensors")


def assert_has_speech(weights: dict[str, torch.Tensor]) -> None:
    for name, expected in SPEECH.items():
        assert torch.equal(weights[name], expected), name


def test_with_an_adapter(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapter = write_adapter(base, tmp_path / "lora", target_modules=r".*q_proj")
    with caplog.at_level("INFO", logger="tunesmith"):
        weights = exported(adapter, tmp_path / "merged")
    assert_has_speech(weights)
    assert "2 weights that do not train (tts.…) stay as" in caplog.text


def test_after_training_in_full(base: Path, tmp_path: Path) -> None:
    settings = run_settings(base, write_rows(tmp_path, count=2), tmp_path / "run", finetuning_type="full", max_steps=1)
    run(settings)
    assert not SPEECH.keys() & load_file(tmp_path / "run" / "model.safetensors").keys()
    assert_has_speech(exported(tmp_path / "run", tmp_path / "merged"))


def test_where_the_model_is_merged_as_a_whole(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path, count=2)
    grown = {"resize_vocab": True, "add_special_tokens": "<seen>", "additional_target": "embed_tokens,lm_head"}
    run(run_settings(base, rows, tmp_path / "run", max_steps=1, **grown))
    assert_has_speech(exported(tmp_path / "run", tmp_path / "merged"))
