"""Whole runs of stage rm: they learn what they are shown, go on as if never stopped, and say what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.train.reward_runs import colour_pairs, kind_pairs, reward_run
from tests.train.runs import assert_same_run, final_weights, metrics_without_times, run_settings
from tunesmith.config.read import load_settings_from
from tunesmith.errors import ModelError
from tunesmith.train.run import train

LEARNS = {
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lora_target": "all",
    "save_strategy": "no",
}


def evaluation(run: Path) -> dict[str, float]:
    """The last line of the run's evaluations."""
    return [line for line in metrics_without_times(run) if "eval_loss" in line][-1]


def held_out(model: Path, trained: Path, rows: Path, output: Path) -> dict[str, Any]:
    """What an adapter makes of other rows: eval_results.json."""
    settings = {
        "model_name_or_path": str(model),
        "adapter_name_or_path": str(trained),
        "eval_dataset": str(rows),
        "output_dir": str(output),
        "stage": "rm",
        "do_train": False,
        "do_eval": True,
        "use_cpu": True,
    }
    train(load_settings_from(settings, verb="train"))
    results: dict[str, Any] = json.loads((output / "eval_results.json").read_text())
    return results


def test_it_ranks_pairs_it_has_not_seen(qwen2_folder: Path, tmp_path: Path) -> None:
    rows = kind_pairs(tmp_path, count=64)
    others = kind_pairs(tmp_path, count=40, first=1000, name="others.json")
    reward_run(qwen2_folder, rows, tmp_path / "run", eval_dataset=str(others), num_train_epochs=5, **LEARNS)

    line = evaluation(tmp_path / "run")
    assert line["eval_rewards/accuracies"] >= 0.9
    assert line["eval_rewards/margins"] == pytest.approx(line["eval_rewards/chosen"] - line["eval_rewards/rejected"])
    again = held_out(qwen2_folder, tmp_path / "run", others, tmp_path / "again")
    assert again["eval_rewards/accuracies"] == line["eval_rewards/accuracies"]
    assert again["eval_loss"] == pytest.approx(line["eval_loss"], rel=1e-5)


def test_it_ranks_answers_about_pictures_it_has_not_seen(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    rows = colour_pairs(tmp_path, count=32)
    others = colour_pairs(tmp_path, count=20, first=33, name="others.json")
    opened = {"finetuning_type": "full", "freeze_vision_tower": False, "freeze_multi_modal_projector": False}
    changes = {**LEARNS, **opened, "learning_rate": 1e-3, "num_train_epochs": 15, "eval_dataset": str(others)}
    reward_run(qwen2_5_vl_folder, rows, tmp_path / "run", **changes)

    assert evaluation(tmp_path / "run")["eval_rewards/accuracies"] >= 0.9


@pytest.mark.parametrize("finetuning_type", ["lora", "full", "freeze"])
def test_a_resumed_run_is_the_run_never_stopped(finetuning_type: str, qwen2_folder: Path, tmp_path: Path) -> None:
    rows, whole, resumed = kind_pairs(tmp_path, count=10), tmp_path / "whole", tmp_path / "resumed"
    changes = {"finetuning_type": finetuning_type, "lora_dropout": 0.1 if finetuning_type == "lora" else 0.0}
    reward_run(qwen2_folder, rows, whole, **changes)
    shutil.copytree(whole, resumed)
    for checkpoint in (resumed / "checkpoints").iterdir():
        if checkpoint.name != "step-4":
            shutil.rmtree(checkpoint)
    for weights in resumed.glob("*.safetensors"):
        weights.unlink()

    reward_run(qwen2_folder, rows, resumed, **changes, resume_from_checkpoint=True)

    assert_same_run(whole, resumed)


def test_a_prompt_computed_once_is_a_prompt_computed_twice(qwen2_folder: Path, tmp_path: Path) -> None:
    rows = kind_pairs(tmp_path, count=12)
    losses = []
    for share in (True, False):
        run = tmp_path / str(share)
        reward_run(qwen2_folder, rows, run, save_strategy="no", logging_steps=1, share_prefix=share)
        losses.append([line["loss"] for line in metrics_without_times(run) if "loss" in line])

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_quantised_base(qwen2_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    rows = kind_pairs(tmp_path, count=8)
    changes = {"quantization_bit": 4, "num_train_epochs": 2, "save_strategy": "no"}
    reward_run(qwen2_folder, rows, tmp_path / "run", **changes)

    assert "base_model.model.score.weight" in final_weights(tmp_path / "run")


def test_a_reward_model_learns_on(qwen2_folder: Path, tmp_path: Path) -> None:
    rows = kind_pairs(tmp_path, count=8)
    reward_run(qwen2_folder, rows, tmp_path / "first", num_train_epochs=1, learning_rate=1e-3)
    changes = {"adapter_name_or_path": str(tmp_path / "first"), "num_train_epochs": 1, "learning_rate": 1e-30}
    reward_run(qwen2_folder, rows, tmp_path / "second", **changes)

    name = "base_model.model.score.weight"
    first, second = final_weights(tmp_path / "first")[name], final_weights(tmp_path / "second")[name]
    assert (first - second).abs().max() < 1e-6


def test_evaluating_a_model_without_a_head_says_so(qwen2_folder: Path, tmp_path: Path) -> None:
    settings = run_settings(qwen2_folder, kind_pairs(tmp_path, count=4), tmp_path / "run", stage="rm", val_size=2)
    with pytest.raises(ModelError, match="has no score head, which stage: rm gives a model"):
        train(load_settings_from({**settings, "do_train": False, "do_eval": True}, verb="train"))
