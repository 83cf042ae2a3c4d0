"""Checkpoints kept while the training goes on: what is waited for, what is deleted, and what a full disk does."""

from __future__ import annotations

import threading

import pytest
import torch

from tests.train.checkpoint.saved import build, resume, take
from tests.train.runs import assert_same_run, final_weights, run, run_settings, write_rows
from tunesmith.config.training import TrainingSettings
from tunesmith.data.report.report_builder import ReportBuilder
from tunesmith.errors import RunError
from tunesmith.models.saving import save_trained
from tunesmith.train.account import RowAccount
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.keeper import Keeper
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.state import TrainState


class Disk:
    """Where models are written: slow while `may_write` is not set, and full if asked for."""

    def __init__(self, stepper):
        self.stepper = stepper
        self.may_write = threading.Event()
        self.full = False

    def write(self, place, weights):
        assert self.may_write.wait(30)
        if self.full:
            raise OSError(28, "No space left on device")
        save_trained(self.stepper.forward.model, place, weights=weights)


def keep(stepper, disk, folder, **training):
    folder.mkdir()
    return Keeper(
        folder=RunFolder(folder),
        training=TrainingSettings(**training),
        stepper=stepper,
        state=TrainState(),
        write_model=disk.write,
        identity={},
        settings={},
        account=RowAccount(ReportBuilder([], cutoff_len=8), ()),
        in_background=True,
    )


def step(keeper, stepper):
    take(stepper, 1)
    keeper.state.place = Place(keeper.state.step + 1)
    return keeper.save()


def test_the_step_after_does_not_wait_and_the_next_save_does(qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, "lora")
    disk = Disk(stepper)
    keeper = keep(stepper, disk, tmp_path / "run", save_total_limit=1)
    place = step(keeper, stepper)
    expected = {name: weight.clone() for name, weight in stepper.forward.model.named_parameters()}
    take(stepper, 2)
    assert not place.exists()
    threading.Timer(0.05, disk.may_write.set).start()
    second = step(keeper, stepper)
    assert place.is_dir()
    keeper.settle()
    assert second.is_dir()
    assert not place.exists(), "save_total_limit: 1"
    fresh = build(qwen2_folder, "lora")
    resume(second, fresh)
    assert not all(torch.equal(fresh.forward.model.get_parameter(name), weight) for name, weight in expected.items())


def test_a_full_disk_is_told_once_somebody_asks_and_leaves_the_one_before(qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, "lora")
    disk = Disk(stepper)
    disk.may_write.set()
    keeper = keep(stepper, disk, tmp_path / "run")
    first = step(keeper, stepper)
    keeper.settle()
    assert keeper.problem is None
    disk.full = True
    step(keeper, stepper)
    keeper.close()
    assert "step-2 cannot be written: [Errno 28] No space left on device" in str(keeper.problem)
    with pytest.raises(
        RunError, match=r"step-2 cannot be written: .*No space left.*save_total_limit and save_only_model"
    ):
        keeper.settle()
    assert [place.name for place in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-1"]
    resume(first, build(qwen2_folder, "lora"))


def test_a_run_that_saves_in_the_background_is_the_same_run(qwen2_folder, tmp_path):
    settings = run_settings(qwen2_folder, write_rows(tmp_path), tmp_path / "whole", save_steps=1, num_train_epochs=1)
    run(settings)
    run(settings, output_dir=str(tmp_path / "background"), save_in_background=True)
    assert_same_run(tmp_path / "whole", tmp_path / "background")
    resumed = {"resume_from_checkpoint": str(tmp_path / "background" / "checkpoints" / "step-2")}
    run(settings, output_dir=str(tmp_path / "resumed"), **resumed)
    expected, found = final_weights(tmp_path / "whole"), final_weights(tmp_path / "resumed")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_what_a_kill_left_over_the_limit_goes_at_the_end(qwen2_folder, tmp_path):
    """Killed after the last checkpoint was there, and before the oldest was gone."""
    settings = run_settings(qwen2_folder, write_rows(tmp_path), tmp_path / "run", save_steps=1, num_train_epochs=1)
    run(settings)
    (tmp_path / "run" / "adapter_model.safetensors").unlink()
    run(settings, resume_from_checkpoint=True, save_total_limit=2)
    assert {place.name for place in (tmp_path / "run" / "checkpoints").iterdir()} == {"step-2", "step-3"}
    assert final_weights(tmp_path / "run")
