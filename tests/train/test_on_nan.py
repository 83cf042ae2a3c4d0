"""Whole runs whose loss stops being a number: the batch is kept with its rows and pictures, and nothing is lost."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.train.injected import not_a_number
from tests.train.runs import final_weights, metrics_without_times, run, run_settings, write_rows
from tunesmith.errors import RunError

MARK = "§"
SIZE = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 1}


def write_marked_rows(folder, *, at, **kinds):
    """Ten rows, of which the one at `at` has a letter that no other has."""
    file = write_rows(folder, **kinds)
    rows = json.loads(file.read_text())
    rows[at]["messages"][0]["content"] += MARK
    file.write_text(json.dumps(rows))
    return file


def mark_of(model):
    """The token that only the marked row has."""
    return AutoTokenizer.from_pretrained(model)(MARK)["input_ids"][-1]


@pytest.fixture
def said(caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return caplog


@pytest.fixture
def settings(qwen2_folder, tmp_path):
    rows = write_marked_rows(tmp_path, at=6)
    return run_settings(qwen2_folder, rows, tmp_path / "run", disable_shuffling=True, logging_steps=1, **SIZE)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_stop_keeps_the_batch_names_the_row_and_saves(settings, qwen2_folder, tmp_path, where):
    with not_a_number(mark_of(qwen2_folder), where=where), pytest.raises(RunError) as raised:
        run(settings, save_steps=100)
    folder = tmp_path / "run"
    what = {"loss": "the loss is nan", "gradient": "the gradients are nan"}[where]
    kept = folder / "bad_batches" / "step-2-rank-0"
    message = str(raised.value)
    assert message.startswith(f"step 2: {what} on these rows: ")
    assert f"rows.json, row 6, kept in {kept}. No weight was changed." in message
    assert "on_nan: skip goes on without such steps" in message
    assert message.endswith(f"Saved in {folder / 'checkpoints' / 'step-1'}")
    told = json.loads((kept / "rows.json").read_text())
    assert (told["step"], told["why"]) == (2, what)
    assert [row["row"] for row in told["rows"]] == [6, 7]
    assert MARK in told["rows"][0]["text"]
    batch = load_file(kept / "batch-0.safetensors")
    assert (batch["inputs.input_ids"] == mark_of(qwen2_folder)).sum() == 1
    assert batch["labels"].shape == batch["inputs.input_ids"].shape
    run(settings, resume_from_checkpoint=True)
    run(settings, output_dir=str(tmp_path / "never"))
    expected, found = final_weights(tmp_path / "never"), final_weights(folder)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_skip_goes_on_as_if_the_step_had_taken_nothing(settings, qwen2_folder, tmp_path, said):
    with not_a_number(mark_of(qwen2_folder)):
        result = run(settings, on_nan="skip", save_steps=1, lr_scheduler_type="linear", warmup_ratio=0.0)
    assert result.steps == 3
    (warning,) = [record.message for record in said.records if "is skipped" in record.message]
    assert "step 2 is skipped: the loss is nan on these rows: " in warning
    folder = tmp_path / "run"
    lines = metrics_without_times(folder)
    assert [line.get("skipped_steps") for line in lines] == [None, 1, 1]
    assert [line["loss"] is None for line in lines] == [False, True, False]
    assert lines[1]["supervised_tokens"] == lines[0]["supervised_tokens"]
    before, after = (final_weights(folder / "checkpoints" / f"step-{step}") for step in (1, 2))
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert [line["learning_rate"] for line in lines] == pytest.approx([1e-2, 2e-2 / 3, 1e-2 / 3])
    state = json.loads((folder / "checkpoints" / "step-3" / "trainer" / "progress.json").read_text())["state"]
    assert (state["skipped_steps"], state["skipped_in_a_row"], state["empty_steps"]) == (1, 0, 0)


def test_pictures_are_kept_beside_the_rows(qwen2_5_vl_folder, tmp_path):
    rows = write_marked_rows(tmp_path, at=1, images=True)
    settings = run_settings(qwen2_5_vl_folder, rows, tmp_path / "run", disable_shuffling=True, **SIZE)
    with not_a_number(mark_of(qwen2_5_vl_folder)), pytest.raises(RunError, match=r"step 1: the loss is nan"):
        run(settings)
    kept = tmp_path / "run" / "bad_batches" / "step-1-rank-0"
    told = json.loads((kept / "rows.json").read_text())
    assert [row["media"][0]["name"] for row in told["rows"]] == [str(tmp_path / f"{number}.png") for number in (0, 1)]
    for row in told["rows"]:
        (copy,) = row["media"][0]["copies"]
        with Image.open(kept / copy) as one, Image.open(row["media"][0]["name"]) as other:
            assert one.tobytes() == other.tobytes()
    assert "inputs.pixel_values" in load_file(kept / "batch-0.safetensors")


def test_a_base_that_holds_nan_is_said_and_not_skipped(settings, qwen2_folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(qwen2_folder, broken)
    weights = load_file(broken / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name][0, 0] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"weights are not finite already: .*layers\.1\.mlp\.down_proj.*of the base"):
        run(settings, model_name_or_path=str(broken), on_nan="skip")
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))


def test_skipping_step_after_step_ends(settings, qwen2_folder, tmp_path):
    everywhere = AutoTokenizer.from_pretrained(qwen2_folder)("How")["input_ids"][0]
    with not_a_number(everywhere), pytest.raises(RunError, match="on_nan: skip does not help: 20 steps in a row"):
        run(settings, on_nan="skip", max_steps=60, save_steps=1000, per_device_train_batch_size=1)
    assert (tmp_path / "run" / "checkpoints" / "step-19").is_dir()
