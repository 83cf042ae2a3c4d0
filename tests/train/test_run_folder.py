"""What stands in output_dir, and which checkpoint is the last."""

from __future__ import annotations

import pytest

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import RunError
from tunesmith.train.folder.json_lines import append_line, cut_after_step, read_lines
from tunesmith.train.folder.resume import find_checkpoint, open_folder, require_place
from tunesmith.train.folder.run_folder import RunFolder


def make(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
    return RunFolder(folder)


def test_only_complete_checkpoints_count_and_the_highest_step_wins(tmp_path):
    folder = make(tmp_path, "checkpoints/step-9", "checkpoints/step-10", "checkpoints/.writing-step-11")
    assert folder.checkpoint_steps() == [9, 10]
    assert folder.last_checkpoint() == tmp_path / "checkpoints" / "step-10"


def test_llama_factorys_names_are_found_where_there_are_no_others(tmp_path):
    assert make(tmp_path, "checkpoint-500", "checkpoint-1000").last_checkpoint() == tmp_path / "checkpoint-1000"


@pytest.mark.parametrize("trace", ["run.yaml", "metrics.jsonl", "adapter_model.safetensors", "model.safetensors"])
def test_a_folder_with_a_run_is_refused_unless_resumed_or_overwritten(tmp_path, trace):
    (tmp_path / trace).touch()
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match=rf"already holds a run \({trace}\).*resume_from_checkpoint: true"):
        require_place(TrainingSettings(), folder, None)
    require_place(TrainingSettings(overwrite_output_dir=True), folder, None)
    require_place(TrainingSettings(), folder, folder.checkpoints / "step-3")
    with pytest.raises(RunError, match="already holds a run"):
        require_place(TrainingSettings(), folder, tmp_path.parent / "another run" / "checkpoints" / "step-3")


def test_a_folder_with_other_files_is_no_run(tmp_path):
    (tmp_path / "notes.txt").touch()
    require_place(TrainingSettings(), RunFolder(tmp_path), None)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_overwriting_deletes_the_run_and_nothing_else(tmp_path):
    folder = make(tmp_path, "checkpoints/step-1", "checkpoint-100", "my data")
    (tmp_path / "run.yaml").touch()
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    open_folder(folder, checkpoint=None, step=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoints", "my data"]
    assert not list(folder.checkpoints.iterdir())


def test_resuming_cuts_the_metrics_and_sets_later_checkpoints_aside(tmp_path):
    folder = make(tmp_path, *(f"checkpoints/step-{step}" for step in (2, 4, 6)))
    for step in range(1, 7):
        append_line(folder.metrics, {"step": step, "loss": 1.0})
    open_folder(folder, checkpoint=folder.checkpoint(4), step=4)
    assert [line["step"] for line in read_lines(folder.metrics)] == [1, 2, 3, 4]
    assert folder.checkpoint_steps() == [2, 4]
    assert (folder.checkpoints / "old-step-6").is_dir()


def test_there_must_be_something_to_resume(tmp_path):
    folder = RunFolder(tmp_path)
    assert find_checkpoint(TrainingSettings(), folder) is None
    with pytest.raises(RunError, match="holds no complete checkpoint"):
        find_checkpoint(TrainingSettings(resume_from_checkpoint=True), folder)


def test_numbers_json_does_not_have_become_null(tmp_path):
    append_line(tmp_path / "metrics.jsonl", {"step": 1, "grad_norm": float("inf"), "loss": float("nan")})
    assert read_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "grad_norm": None, "loss": None}]


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    cut_after_step(file, 9)
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'
