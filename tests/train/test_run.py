"""Whole runs, from settings to the files in the run folder."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import yaml
from PIL import Image

from tests.train.runs import final_weights, metrics_without_times, run, run_settings, write_rows
from tunesmith.config.read import load_settings
from tunesmith.errors import RunError, UsageError
from tunesmith.models.folder import load_folder

METRICS = ["step", "epoch", "loss", "learning_rate", "grad_norm", "supervised_tokens", "tokens_per_s", "step_s"]


@pytest.fixture
def settings(qwen2_folder, tmp_path):
    return run_settings(qwen2_folder, write_rows(tmp_path), tmp_path / "run")


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_run_leaves_everything_in_its_folder(settings, tmp_path):
    result = run(settings, val_size=2, eval_steps=4, sample_prompts=["How much is 1 and 1?"], sample_max_new_tokens=4)
    folder = tmp_path / "run"
    assert (result.run_folder, result.steps) == (folder, 6)
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        *("run.yaml", "manifest.json", "metrics.jsonl", "data_report.json", "samples.jsonl", "checkpoints"),
        *("training_loss.png", "adapter_model.safetensors", "adapter_config.json", "tokenizer.json"),
    }
    assert not [name for name in names if name.startswith(".") or name == "final"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "loss" in line]
    names = [*METRICS, "data_wait_s", "padding_share", "peak_memory_bytes", "accuracy"]
    assert all(list(line) == names for line in training)
    assert [line["step"] for line in training] == [1, 2, 4, 6]
    assert [line["step"] for line in lines if "eval_loss" in line] == [4, 6]
    assert result.metrics["loss"] == training[-1]["loss"]
    assert training[-1]["loss"] < training[0]["loss"]
    assert training[-1]["epoch"] == 3
    assert [json.loads(line)["step"] for line in (folder / "samples.jsonl").read_text().splitlines()] == [0, 6]
    assert Image.open(folder / "training_loss.png").size == (960, 540)
    assert checkpoints(folder) == ["step-2", "step-4", "step-6"]
    assert load_settings(folder / "run.yaml").training.learning_rate == 1e-2
    load_folder(folder, device="cpu")


def test_the_logged_loss_is_the_mean_over_the_tokens_since_the_last_line(settings, tmp_path):
    run(settings, logging_steps=1, output_dir=str(tmp_path / "every"))
    run(settings, logging_steps=3, logging_first_step=False, output_dir=str(tmp_path / "third"))
    every, third = (metrics_without_times(tmp_path / name) for name in ("every", "third"))
    tokens = [line["supervised_tokens"] for line in every]
    sums = [line["loss"] * (now - before) for line, now, before in zip(every, tokens, [0, *tokens], strict=False)]
    assert third[0]["supervised_tokens"] == tokens[2]
    assert third[0]["loss"] == pytest.approx(sum(sums[:3]) / tokens[2], rel=1e-9)
    assert third[1]["loss"] == pytest.approx(sum(sums[3:6]) / (tokens[5] - tokens[2]), rel=1e-9)


def test_neither_evaluation_nor_questions_nor_workers_nor_logging_change_the_training(settings, tmp_path):
    run(settings, output_dir=str(tmp_path / "plain"))
    (tmp_path / "val.json").write_text((tmp_path / "rows.json").read_text())
    run(
        settings,
        output_dir=str(tmp_path / "busy"),
        eval_dataset=str(tmp_path / "val.json"),
        eval_steps=1,
        sample_prompts=["How much?"],
        sample_steps=1,
        sample_max_new_tokens=3,
        dataloader_num_workers=2,
        logging_steps=1,
        save_steps=1,
    )
    plain, busy = final_weights(tmp_path / "plain"), final_weights(tmp_path / "busy")
    assert all((busy[name] == weight).all() for name, weight in plain.items())


def test_checkpointed_activations_give_the_same_training(settings, tmp_path):
    run(settings, output_dir=str(tmp_path / "plain"), max_steps=3)
    run(settings, output_dir=str(tmp_path / "saved"), max_steps=3, disable_gradient_checkpointing=False)
    plain, saved = (metrics_without_times(tmp_path / name) for name in ("plain", "saved"))
    assert [line["loss"] for line in saved] == pytest.approx([line["loss"] for line in plain], rel=1e-5)


def test_a_folder_that_holds_a_run_is_refused_then_overwritten(settings, tmp_path):
    run(settings, max_steps=2)
    with pytest.raises(RunError, match="already holds a run"):
        run(settings, max_steps=2)
    run(settings, max_steps=1, overwrite_output_dir=True)
    assert checkpoints(tmp_path / "run") == ["step-1"]


def test_an_error_in_the_new_settings_leaves_the_old_run_alone(settings, tmp_path):
    run(settings, max_steps=2)
    with pytest.raises(UsageError, match="optim: lion"):
        run(settings, overwrite_output_dir=True, optim="lion")
    assert checkpoints(tmp_path / "run") == ["step-2"]


def test_the_limit_deletes_the_oldest_but_never_the_best(settings, tmp_path):
    run(
        settings,
        val_size=2,
        eval_steps=2,
        save_total_limit=1,
        max_steps=8,
        greater_is_better=True,  # of a loss that falls: so that the first evaluation stays the best
        load_best_model_at_end=True,
    )
    folder = tmp_path / "run"
    lines = [line for line in metrics_without_times(folder) if "eval_loss" in line]
    assert lines[0]["eval_loss"] == max(line["eval_loss"] for line in lines)
    assert checkpoints(folder) == ["step-2", "step-8"]
    kept, final = final_weights(folder / "checkpoints" / "step-2"), final_weights(folder)
    assert all((final[name] == weight).all() for name, weight in kept.items())
    assert not (folder / "trainer").exists()


def test_early_stopping_ends_the_run_with_everything_in_place(settings, tmp_path, caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    result = run(
        settings, val_size=2, eval_steps=1, early_stopping_steps=2, greater_is_better=True, max_steps=50, save_steps=100
    )
    assert result.steps == 3
    assert "stopped early" in caplog.text
    assert checkpoints(tmp_path / "run") == [f"step-{result.steps}"]
    assert (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_a_run_that_stopped_early_stays_stopped_when_resumed(settings, tmp_path):
    """As after a kill between its last checkpoint and the final model."""
    early = {**settings, "val_size": 2, "eval_steps": 1, "early_stopping_steps": 2, "greater_is_better": True}
    run(early, max_steps=50)
    weights, metrics = final_weights(tmp_path / "run"), metrics_without_times(tmp_path / "run")
    assert run(early, max_steps=50, resume_from_checkpoint=True).steps == 3
    assert all((final_weights(tmp_path / "run")[name] == weight).all() for name, weight in weights.items())
    assert metrics_without_times(tmp_path / "run") == metrics


def test_save_strategy_no_leaves_only_the_final_model(settings, tmp_path):
    run(settings, save_strategy="no", max_steps=2)
    assert checkpoints(tmp_path / "run") == []
    assert (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_what_breaks_exactness_is_refused_on_resuming(settings, tmp_path):
    run(settings, max_steps=4)
    with pytest.raises(RunError, match=r"seed \(42 in the checkpoint, 1 now\)"):
        run(settings, resume_from_checkpoint=True, seed=1)
    rows = json.loads((tmp_path / "rows.json").read_text())
    (tmp_path / "rows.json").write_text(json.dumps(rows[1:]))
    with pytest.raises(RunError, match="the training data"):
        run(settings, resume_from_checkpoint=True)


def test_a_run_can_be_made_longer(settings):
    run(settings, max_steps=4, lr_scheduler_type="constant")
    assert run(settings, max_steps=6, lr_scheduler_type="constant", resume_from_checkpoint=True).steps == 6


def test_a_resumed_run_goes_on_with_the_new_learning_rate(settings, tmp_path):
    run(settings, max_steps=4, lr_scheduler_type="linear", warmup_ratio=0, logging_steps=1)
    run(
        settings,
        max_steps=8,
        lr_scheduler_type="linear",
        warmup_ratio=0,
        logging_steps=1,
        learning_rate=8e-3,
        resume_from_checkpoint=True,
    )
    rates = [line["learning_rate"] for line in metrics_without_times(tmp_path / "run")]
    assert rates == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3, 4e-3, 3e-3, 2e-3, 1e-3])


@pytest.mark.parametrize("changes", [{}, {"do_train": False, "do_eval": True, "val_size": 2}])
def test_an_output_folder_that_is_a_file_is_refused_before_anything_is_read(changes, settings, tmp_path):
    (tmp_path / "run").touch()
    for place in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(UsageError, match=r"output_dir .*run is a file; choose a folder"):
            run(settings, output_dir=str(place), model_name_or_path="absent", **changes)


def test_a_question_that_fails_warns_and_the_training_goes_on(settings, tmp_path, caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.WARNING, logger="tunesmith")
    questions = [{"prompt": "What is this?", "image": str(tmp_path / "absent.png")}, "How much?"]
    assert run(settings, max_steps=2, sample_prompts=questions, sample_max_new_tokens=2).steps == 2
    failures = [record.message for record in caplog.records if "could not be answered" in record.message]
    assert len(failures) == 1
    assert len((tmp_path / "run" / "samples.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("question", [{"question": "?"}, {"prompt": "?", "picture": "a.png"}])
def test_questions_of_another_form_are_refused(settings, question):
    with pytest.raises(UsageError, match=r"sample_prompts: .* is neither text nor"):
        run(settings, sample_prompts=[question])


@pytest.mark.parametrize("precision", ["bf16", "fp16", "pure_bf16"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_low_precision_runs_learn_and_resume_exactly(precision, tuning, settings, tmp_path):
    changes = {precision: True, "finetuning_type": tuning, "lora_dropout": 0.0, "logging_steps": 1}
    result = run(settings, **changes, output_dir=str(tmp_path / "whole"))
    lines = metrics_without_times(tmp_path / "whole")
    assert result.metrics["loss"] < lines[0]["loss"]
    (tmp_path / "whole" / "checkpoints" / "step-6").rename(tmp_path / "gone")
    run(settings, **changes, output_dir=str(tmp_path / "whole"), resume_from_checkpoint=True)
    assert metrics_without_times(tmp_path / "whole") == lines


def test_image_rows_train_and_are_asked_about(qwen2_5_vl_folder, tmp_path):
    rows = write_rows(tmp_path, images=True)
    settings = run_settings(qwen2_5_vl_folder, rows, tmp_path / "run", freeze_vision_tower=False)
    questions = [{"prompt": "Which colour?", "images": [str(tmp_path / "1.png")]}]
    result = run(settings, sample_prompts=questions, sample_max_new_tokens=3, val_size=2)
    lines = metrics_without_times(tmp_path / "run")
    assert result.metrics["loss"] < lines[0]["loss"]
    assert len((tmp_path / "run" / "samples.jsonl").read_text().splitlines()) == 2
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert report["train"]["media"] == 8


def test_evaluation_alone(settings, qwen2_folder, tmp_path):
    trained = run(settings, val_size=2, eval_strategy="epoch")
    alone = {"do_train": False, "do_eval": True, "output_dir": str(tmp_path / "eval"), "val_size": 2}
    untrained = run(settings, **alone)
    again = run(settings, **alone, adapter_name_or_path=str(tmp_path / "run"))
    assert again.metrics["eval_loss"] == pytest.approx(trained.metrics["eval_loss"], rel=1e-6)
    assert untrained.metrics["eval_loss"] > again.metrics["eval_loss"]
    written = json.loads((tmp_path / "eval" / "eval_results.json").read_text())
    assert written["eval_accuracy"] == again.metrics["eval_accuracy"]
    with pytest.raises(UsageError, match="nothing to do"):
        run(settings, do_train=False)


def test_secrets_are_written_nowhere(settings, tmp_path):
    run(settings, max_steps=1, swanlab_api_key="very-secret-key", hf_hub_token="hf_secret")
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"very-secret-key" not in content, file
            assert b"hf_secret" not in content, file
    assert "swanlab_api_key" not in yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())


def test_training_from_scratch_needs_no_weights(settings, qwen2_folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(qwen2_folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    scratch = {**settings, "model_name_or_path": str(bare), "train_from_scratch": True, "finetuning_type": "full"}
    assert run({**scratch, "lora_dropout": 0.0, "max_steps": 2}).steps == 2
