"""Whole runs of stages that compare the model with another: what they say, write and give, whatever the reference."""

from __future__ import annotations

import gc
import json
import logging
import math
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.preference_runs import preference_settings, write_preferences
from tests.train.runs import final_weights, metrics_without_times, run
from tunesmith.config.read import load_settings_from
from tunesmith.errors import RunError, UsageError
from tunesmith.models.folder import load_folder
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.prepared_run import prepare_run
from tunesmith.train.reference.kinds import OtherModel, Stored


@pytest.fixture
def said(caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return caplog


def given(model: Path, folder: Path, *, stage: str = "dpo", images: bool = False, **changes: Any) -> dict[str, Any]:
    if not (folder / "rows.json").exists():
        write_preferences(folder, stage=stage, images=images)
    return preference_settings(model, folder, stage=stage, **changes)


def lines(folder: Path, key: str) -> list[float]:
    content = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[key] for line in content if key in line]


@pytest.mark.parametrize("stage", ["dpo", "kto"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_computed_before_or_in_every_step_the_run_is_the_same(stage, tuning, tmp_path, qwen2_folder):
    """Values are computed in batches of another size, so weights differ by rounding, which AdamW's first steps enlarge
    where a gradient is next to nothing; the losses hardly do."""
    settings = given(qwen2_folder, tmp_path, stage=stage, finetuning_type=tuning, val_size=2, eval_steps=3)
    for name, precompute in (("stored", True), ("live", False)):
        run(settings, precompute_ref=precompute, output_dir=str(tmp_path / name))
    for key in ("loss", "eval_loss", "rewards/chosen", "eval_rewards/margins"):
        assert lines(tmp_path / "stored", key) == pytest.approx(lines(tmp_path / "live", key), rel=1e-4, abs=1e-6)


def test_in_batches_of_the_same_rows_they_are_equal_bit_for_bit(tmp_path, qwen2_folder):
    same = {"per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "disable_shuffling": True}
    settings = given(qwen2_folder, tmp_path, **same)
    for name, precompute in (("stored", True), ("live", False)):
        run(settings, precompute_ref=precompute, output_dir=str(tmp_path / name))
    one, other = final_weights(tmp_path / "stored"), final_weights(tmp_path / "live")
    assert all(torch.equal(other[name], weight) for name, weight in one.items())
    assert metrics_without_times(tmp_path / "stored") == metrics_without_times(tmp_path / "live")


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"finetuning_type": "full"},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
        {"quantization_bit": 4},
        {"additional_target": "embed_tokens"},
        {"lora_bias": "all"},
        {"bf16": True},
        {"bf16": True, "finetuning_type": "full"},
        {"ref_model": "itself"},
        {"ref_model": "itself", "finetuning_type": "full", "bf16": True},
        {"share_prefix": False},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()) or "lora",
)
def test_the_first_step_begins_at_ln_2_whatever_the_reference(changes, precompute, tmp_path, qwen2_folder):
    if "ref_model" in changes:
        changes = changes | {"ref_model": str(qwen2_folder)}
    settings = given(qwen2_folder, tmp_path, max_steps=1, logging_steps=1, **changes)
    run(settings, precompute_ref=precompute)
    tolerance = 5e-3 if "bf16" in changes else 1e-6
    assert lines(tmp_path / "whole", "loss") == [pytest.approx(math.log(2), abs=tolerance)]


def test_an_adapter_that_goes_on_begins_at_ln_2_and_says_how_to_compare_with_the_base(tmp_path, qwen2_folder, said):
    settings = given(qwen2_folder, tmp_path, logging_steps=1)
    run(settings)
    shutil.move(tmp_path / "whole", tmp_path / "first")

    run(settings, adapter_name_or_path=str(tmp_path / "first"), output_dir=str(tmp_path / "on"))
    with_base = {"ref_model": str(qwen2_folder), "output_dir": str(tmp_path / "base")}
    run(settings, adapter_name_or_path=str(tmp_path / "first"), **with_base)

    assert f"to compare it with the base give ref_model: {qwen2_folder}" in said.text
    assert lines(tmp_path / "on", "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert lines(tmp_path / "base", "loss")[0] < 0.6
    assert lines(tmp_path / "base", "rewards/margins")[0] > 0


def test_the_run_says_what_it_compares_with_and_counts_pairs(tmp_path, qwen2_folder, said):
    run(given(qwen2_folder, tmp_path, lora_dropout=0.1) | {"lora_dropout": 0.1})
    assert "against  itself with its adapter off, computed before the first step" in said.text
    assert "of 4 pairs (2 x 2), adamw_torch" in said.text
    assert said.text.count("lora_dropout: 0.1 is switched off") == 1


def test_what_was_computed_for_one_run_serves_the_next(tmp_path, qwen2_folder, said):
    settings = given(qwen2_folder, tmp_path, finetuning_type="full", max_steps=3)
    run(settings)
    assert "computing what 10 rows are compared with (itself as the training began), once" in said.text
    said.clear()
    run(settings, learning_rate=1e-3, output_dir=str(tmp_path / "next"))
    assert "computing" not in said.text


def test_once_its_values_are_there_no_other_model_is_kept_or_even_loaded(tmp_path, qwen2_folder, monkeypatch):
    shutil.copytree(qwen2_folder, tmp_path / "other")
    settings = given(qwen2_folder, tmp_path, ref_model=str(tmp_path / "other"))
    made = []
    init = OtherModel.__post_init__

    def note(reference):
        made.append(weakref.ref(reference.model))
        init(reference)

    monkeypatch.setattr(OtherModel, "__post_init__", note)
    prepared = prepare_run(load_settings_from(settings, verb="train"), SingleProcess())
    gc.collect()
    assert isinstance(prepared.compared.reference, Stored)
    assert [model() for model in made] == [None]

    again = prepare_run(load_settings_from(settings, verb="train"), SingleProcess())
    assert isinstance(again.compared.reference, Stored)
    assert len(made) == 1


@pytest.mark.parametrize("stage", ["dpo", "kto", "orpo", "simpo"])
def test_everything_a_run_writes_is_there_in_every_stage(stage, tmp_path, qwen2_folder):
    rows = "kto" if stage == "kto" else "dpo"
    write_preferences(tmp_path, stage=rows)
    settings = given(qwen2_folder, tmp_path, val_size=2, eval_steps=2, sample_prompts=["How much is 1 and 1?"])
    best = {"save_strategy": "best", "load_best_model_at_end": True, "metric_for_best_model": "eval_rewards/margins"}
    result = run(settings, stage=stage, sample_max_new_tokens=4, **best)

    folder = tmp_path / "whole"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"run.yaml", "metrics.jsonl", "data_report.json", "samples.jsonl", "training_loss.png"}
    assert lines(folder, "eval_rewards/margins")
    assert result.metrics["loss"] == lines(folder, "loss")[-1]
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 2
    load_folder(folder, device="cpu")


@pytest.mark.parametrize("stage", ["dpo", "kto", "orpo"])
def test_a_trained_adapter_is_evaluated_against_its_base(stage, tmp_path, qwen2_folder):
    write_preferences(tmp_path, stage="kto" if stage == "kto" else "dpo")
    settings = given(qwen2_folder, tmp_path)
    run(settings, stage=stage)
    only = {"do_train": False, "do_eval": True, "val_size": 4, "output_dir": str(tmp_path / "evaluated")}

    result = run(settings, stage=stage, adapter_name_or_path=str(tmp_path / "whole"), **only)

    written = json.loads((tmp_path / "evaluated" / "eval_results.json").read_text())
    assert result.metrics == written
    assert written["eval_rewards/margins"] > 0


def test_a_resumed_run_refuses_another_reference_and_tells_of_another_beta(tmp_path, qwen2_folder, said):
    settings = given(qwen2_folder, tmp_path, ref_model=str(qwen2_folder), max_steps=4)
    run(settings)
    shutil.copytree(qwen2_folder, tmp_path / "other")
    weights = next((tmp_path / "other").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    resumed = {"resume_from_checkpoint": str(tmp_path / "whole" / "checkpoints" / "step-2")}
    with pytest.raises(RunError, match="ref_model's files"):
        run(settings, **resumed, ref_model=str(tmp_path / "other"), output_dir=str(tmp_path / "next"))
    said.clear()
    run(settings, **resumed, pref_beta=0.2, output_dir=str(tmp_path / "next"))
    assert "resumed with changed settings (pref_beta: 0.1 → 0.2)" in said.text


def test_streamed_rows_are_compared_live(tmp_path, qwen2_folder):
    settings = given(qwen2_folder, tmp_path, streaming=True, max_steps=3, finetuning_type="full")
    prepared = prepare_run(load_settings_from(settings, verb="train"), SingleProcess())
    assert isinstance(prepared.compared.reference, OtherModel)
    with pytest.raises(UsageError, match="precompute_ref: true needs to know all rows"):
        run(settings, precompute_ref=True)
