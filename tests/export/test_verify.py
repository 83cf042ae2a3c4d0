from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.export.adapters import write_adapter
from tunesmith.export.probe import build_probe
from tunesmith.export.run import export
from tunesmith.export.verify import Verdict, verify
from tunesmith.infer.open import open_preprocessor
from tunesmith.infer.source import ModelSource, find_source

PLENTY = 10**12


@pytest.fixture
def source(qwen2_folder: Path, tmp_path: Path) -> ModelSource:
    """An adapter whose export stands in `out`."""
    source = find_source(write_adapter(qwen2_folder, tmp_path / "lora"), [f"export_dir={tmp_path / 'out'}"])
    export(source)
    return source


def compare(source: ModelSource, exported: Path, *, free_bytes: int | None = PLENTY) -> Verdict:
    batch, name = build_probe(open_preprocessor(source), source.settings)
    return verify(source, find_source(exported), batch=batch, probe=name, dtype=torch.float32, free_bytes=free_bytes)


def test_a_faithful_export_matches(source: ModelSource, tmp_path: Path) -> None:
    verdict = compare(source, tmp_path / "out")
    assert verdict.matches is True
    assert verdict.difference is not None and verdict.difference < 1e-5
    assert "tokens: logits differ by at most" in str(verdict) and "they match" in str(verdict)


def test_one_changed_weight_is_seen(source: ModelSource, tmp_path: Path) -> None:
    file = tmp_path / "out/model.safetensors"
    weights = load_file(file)
    weights["model.layers.0.mlp.down_proj.weight"][3, 5] += 0.5
    save_file(weights, file, {"format": "pt"})
    verdict = compare(source, tmp_path / "out")
    assert verdict.matches is False
    assert "more than rounding" in str(verdict)


def test_the_base_without_its_adapter_is_seen(source: ModelSource) -> None:
    verdict = compare(source, source.base)
    assert verdict.matches is False
    assert verdict.difference == verdict.effect


def test_weights_that_are_no_numbers_never_match(source: ModelSource, tmp_path: Path) -> None:
    broken = shutil.copytree(tmp_path / "out", tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    assert compare(source, broken).matches is False


def test_too_little_memory_is_said_and_nothing_claimed(source: ModelSource, tmp_path: Path) -> None:
    verdict = compare(source, tmp_path / "out", free_bytes=10_000)
    assert (verdict.matches, verdict.difference) == (None, None)
    assert str(verdict).startswith("not verified: loading the model takes about ")
    unknown = compare(source, tmp_path / "out", free_bytes=None)
    assert str(unknown) == "not verified: this system does not say how much memory is free"


def test_several_adapters_are_compared_together(source: ModelSource, tmp_path: Path) -> None:
    second = write_adapter(source.base, tmp_path / "second", r=2)
    target = source.settings.export.model_copy(update={"export_dir": str(tmp_path / "both")})
    both = replace(
        source, adapters=(*source.adapters, second), settings=source.settings.model_copy(update={"export": target})
    )
    assert export(both).verdict.matches is True
