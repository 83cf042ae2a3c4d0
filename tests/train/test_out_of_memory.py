"""Whole runs in which memory runs out: split, remembered, told; and the one row that cannot fit."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from tests.train.injected import no_memory_above
from tests.train.runs import final_weights, metrics_without_times, run, run_settings, write_rows
from tunesmith.errors import RunError

SIZE = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 4}
PLAIN = {"lora_dropout": 0.0, "optim": "sgd", "learning_rate": 0.1, "warmup_ratio": 0.0, "logging_steps": 1}


@pytest.fixture
def settings(qwen2_folder, tmp_path):
    return run_settings(qwen2_folder, write_rows(tmp_path), tmp_path / "run", **PLAIN, **SIZE)


@pytest.fixture
def said(caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return caplog


def assert_close(one, other):
    """Weights and numbers of two runs, but for the rounding of sums in float32."""
    expected, found = final_weights(one), final_weights(other)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6, msg=name)
    for line, wanted in zip(metrics_without_times(other), metrics_without_times(one), strict=True):
        assert line == {name: pytest.approx(value, rel=1e-4) for name, value in wanted.items()}


def test_a_run_whose_micro_batches_do_not_fit_is_the_run_it_would_have_been(settings, tmp_path, said):
    run(settings, output_dir=str(tmp_path / "whole"))
    with no_memory_above(150) as seen:
        run(settings)
    assert len(seen.sizes) == 1  # later micro-batches were split before they were tried
    assert_close(tmp_path / "whole", tmp_path / "run")
    (warning,) = [record.message for record in said.records if "out of memory" in record.message]
    assert "step 1: out of memory in process 0 (CUDA out of memory" in warning
    assert f"A micro-batch of {seen.sizes[0]} tokens on these rows: " in warning
    assert "rows.json, row" in warning
    assert "set in the next run per_device_train_batch_size: 2 and gradient_accumulation_steps: 2" in warning
    kept = json.loads((tmp_path / "run" / "fits.json").read_text())
    assert kept["training"][0]["positions"] <= 150
    assert kept["evaluation"] == []
    assert kept["circumstances"]["finetuning_type"] == "lora, rank 8"


def test_a_resumed_run_splits_at_once_and_takes_the_same_rows(settings, tmp_path, said):
    with no_memory_above(150):
        run(settings, lr_scheduler_type="constant")
        run(settings, lr_scheduler_type="constant", output_dir=str(tmp_path / "half"), max_steps=2)
    said.clear()
    with no_memory_above(150) as seen:
        run(settings, lr_scheduler_type="constant", output_dir=str(tmp_path / "half"), resume_from_checkpoint=True)
    assert seen.sizes == []
    assert not [record for record in said.records if "out of memory" in record.message]
    expected, found = final_weights(tmp_path / "run"), final_weights(tmp_path / "half")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_what_fitted_elsewhere_is_left_aside(settings, tmp_path, said):
    with no_memory_above(150):
        run(settings, max_steps=2, lr_scheduler_type="constant")
    with no_memory_above(150) as seen:
        run(
            settings,
            lr_scheduler_type="constant",
            resume_from_checkpoint=True,
            max_steps=4,
            disable_gradient_checkpointing=False,
        )
    assert len(seen.sizes) >= 1
    assert "fits.json was written with another gradient_checkpointing and is left aside" in said.text


def test_a_row_that_does_not_fit_alone_stops_the_run_after_saving(settings, tmp_path):
    rows = json.loads((tmp_path / "rows.json").read_text())
    rows[7]["messages"][0]["content"] *= 30
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    changes = {"disable_shuffling": True, "per_device_train_batch_size": 1, "max_steps": 9, "save_steps": 100}
    with no_memory_above(300), pytest.raises(RunError) as raised:
        run(settings, **changes)
    message = str(raised.value)
    assert message.startswith("step 8: out of memory (CUDA out of memory")
    assert "on these rows: " in message and "rows.json, row 7" in message
    assert "disable_gradient_checkpointing: false; cutoff_len below 2048" in message
    assert message.endswith(f"Saved in {tmp_path / 'run' / 'checkpoints' / 'step-7'}")
    assert run(settings, **changes, resume_from_checkpoint=True).steps == 9


def test_an_evaluation_is_split_and_what_fits_there_is_kept_apart(settings, tmp_path, said):
    changes = {"val_size": 6, "per_device_eval_batch_size": 6, "eval_steps": 2, "per_device_train_batch_size": 1}
    run(settings, **changes, output_dir=str(tmp_path / "whole"))
    with no_memory_above(150, evaluating=True) as seen:
        run(settings, **changes)
    assert len(seen.sizes) >= 1
    assert_close(tmp_path / "whole", tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "fits.json").read_text())
    assert (kept["training"], len(kept["evaluation"])) == ([], 1)
    assert "evaluation after step 2: out of memory" in said.text


def test_pictures_are_opened_again_for_the_halves(qwen2_5_vl_folder, tmp_path):
    rows = write_rows(tmp_path, images=True)
    settings = run_settings(qwen2_5_vl_folder, rows, tmp_path / "run", freeze_vision_tower=False, **PLAIN, **SIZE)
    run(settings, output_dir=str(tmp_path / "whole"), max_steps=2)
    with no_memory_above(150) as seen:
        run(settings, max_steps=2, dataloader_num_workers=1)
    assert seen.sizes
    assert_close(tmp_path / "whole", tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "fits.json").read_text())
    assert kept["training"][0]["media_values"] > 0
