"""Checkpoints hold everything a step changes, and say so when they cannot be used."""

from __future__ import annotations

import copy
import json
import resource
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.train.batches import make_stepper
from tests.train.checkpoint.saved import build, draft, resume, save, take
from tunesmith.config.training import TrainingSettings
from tunesmith.data.feed.position import FeedPosition, SourcePlace, StreamPlace
from tunesmith.data.store.address import Cursor
from tunesmith.errors import RunError
from tunesmith.train.checkpoint.progress import Progress, read_progress
from tunesmith.train.checkpoint.write import write_alone
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.schedule import Pace, build_scheduler
from tunesmith.train.steps.state import TrainState, Window

STREAMED = FeedPosition(1, 40, 2, StreamPlace(38, 5, (SourcePlace(Cursor(1, 2, 3, 4, 5), 6, 7, True),)))


def everything(stepper):
    weights = {name: weight.detach().clone() for name, weight in stepper.forward.model.named_parameters()}
    return weights, copy.deepcopy(stepper.optimizer.state_dict()), stepper.scheduler.state_dict()


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_weights_optimiser_and_schedule_come_back_bit_for_bit(tuning, qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, tuning)
    take(stepper, 2)
    save(tmp_path / "step-2", stepper, TrainState(Place(2)))
    fresh = build(qwen2_folder, tuning)
    resume(tmp_path / "step-2", fresh)
    weights, optimizer, scheduler = everything(stepper)
    found_weights, found_optimizer, found_scheduler = everything(fresh)
    assert all(torch.equal(found_weights[name], weight) for name, weight in weights.items())
    assert found_scheduler == scheduler
    for index, state in optimizer["state"].items():
        assert all(torch.equal(found_optimizer["state"][index][key], value) for key, value in state.items())


def test_counters_come_back_exactly(qwen2_folder, tmp_path):
    state = TrainState(
        place=Place(7, STREAMED, epoch=1, rows=40, ends_epoch=True),
        settled_step=6,
        seconds=0.1 + 0.2,
        best_metric=1 / 3,
        best_step=2,
        window=Window(0.1 * 3, 2, 3, 4, 5, 5.5, 0.7),
    )
    save(tmp_path / "step-7", build(qwen2_folder, "lora"), state)
    progress = replace(read_progress(tmp_path / "step-7"), fingerprint=None)
    assert progress == Progress(state, {"seed": 1}, {"learning_rate": 0.1}, {"rows": 5})


def test_save_only_model_cannot_be_resumed_and_says_what_to_do(qwen2_folder, tmp_path):
    save(tmp_path / "step-1", build(qwen2_folder, "lora"), TrainState(Place(1)), only_model=True)
    assert (tmp_path / "step-1" / "adapter_model.safetensors").exists()
    with pytest.raises(RunError, match=r"has no trainer state.*adapter_name_or_path"):
        read_progress(tmp_path / "step-1")
    with pytest.raises(RunError, match="is not a folder"):
        read_progress(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["trainer/weights.safetensors", "trainer/optimizer.pt", "trainer/progress.json"])
def test_a_damaged_checkpoint_is_named(qwen2_folder, tmp_path, file):
    save(tmp_path / "step-1", build(qwen2_folder, "lora"), TrainState(Place(1)))
    (tmp_path / "step-1" / file).write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"step-1.* is damaged|does not fit this run, or is damaged"):
        resume(tmp_path / "step-1", build(qwen2_folder, "lora"))


def flip(file, place):
    """Change one bit, as a failing disk does."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("tuning", "name"),
    [("lora", "trainer/weights.safetensors"), ("lora", "trainer/optimizer.pt"), ("full", "model.safetensors")],
)
def test_one_flipped_bit_anywhere_in_the_numbers_is_found(tuning, name, qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, tuning)
    take(stepper, 2)
    save(tmp_path / "step-2", stepper, TrainState(Place(2)))
    file = tmp_path / "step-2" / name
    numbers = file.read_bytes()
    value = next(iter(stepper.optimizer.state.values()))["exp_avg"] if name.endswith("pt") else None
    place = len(numbers) - 2 if value is None else numbers.index(value.numpy().tobytes()) + 2
    flip(file, place)
    with pytest.raises(
        RunError, match=r"step-2 is damaged: what was read is not what was written in its (weights|opt)"
    ):
        resume(tmp_path / "step-2", build(qwen2_folder, tuning))


def test_a_changed_position_is_found(qwen2_folder, tmp_path):
    save(tmp_path / "step-1", build(qwen2_folder, "lora"), TrainState(Place(1, rows=4)))
    file = tmp_path / "step-1" / "trainer" / "progress.json"
    file.write_text(file.read_text().replace('"rows": 4', '"rows": 5'))
    with pytest.raises(RunError, match=r"progress.json is damaged.*earlier checkpoint"):
        read_progress(tmp_path / "step-1")


def test_other_trained_weights_are_refused(qwen2_folder, tmp_path):
    save(tmp_path / "step-1", build(qwen2_folder, "lora"), TrainState(Place(1)))
    other = get_peft_model(
        AutoModelForCausalLM.from_pretrained(qwen2_folder), LoraConfig(r=2, target_modules=["v_proj"])
    )
    with pytest.raises(RunError, match="other weights train now than in the checkpoint"):
        resume(tmp_path / "step-1", make_stepper(other))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint_alone(tuning, qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, tuning)
    take(stepper, 1)
    save(tmp_path / "step-1", stepper, TrainState(Place(1)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk: writing more fails
    try:
        with pytest.raises(RunError, match="step-2 cannot be written"):
            save(tmp_path / "step-2", stepper, TrainState(Place(2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    resume(tmp_path / "step-1", build(qwen2_folder, tuning))


def test_progress_is_plain_json(qwen2_folder, tmp_path):
    save(tmp_path / "step-1", build(qwen2_folder, "lora"), TrainState(Place(1)))
    content = json.loads((tmp_path / "step-1" / "trainer" / "progress.json").read_text())
    assert content["state"]["place"]["step"] == 1


def test_a_schedule_that_goes_by_rows_comes_back_with_its_rate(qwen2_folder, tmp_path):
    """Also where the last steps did not move it, as a gradient scaler's do."""

    def with_pace(pace):
        stepper = build(qwen2_folder, "lora")
        training = TrainingSettings(lr_scheduler_type="linear")
        stepper.scheduler = build_scheduler(stepper.optimizer, training, total_steps=10, pace=pace)
        return stepper

    pace, again = Pace(), Pace()
    stepper = with_pace(pace)
    pace.ahead = 2.5
    take(stepper, 1)
    pace.ahead = 4.0
    rate = stepper.scheduler.get_last_lr()
    assert rate == [1e-2 * 0.75]
    write_alone(tmp_path / "step-1", draft(stepper, TrainState(Place(1)), pace=pace))
    resumed = with_pace(again)
    resume(tmp_path / "step-1", resumed, pace=again)
    assert [group["lr"] for group in resumed.optimizer.param_groups] == rate


def test_a_checkpoint_of_an_earlier_version_is_refused(qwen2_folder, tmp_path):
    save(tmp_path / "step-1", build(qwen2_folder, "lora"), TrainState(Place(1)))
    file = tmp_path / "step-1" / "trainer" / "progress.json"
    content = json.loads(file.read_text())
    del content["report"], content["position"], content["fingerprint"]
    file.write_text(json.dumps(content))
    with pytest.raises(RunError, match="written by an earlier version"):
        read_progress(tmp_path / "step-1")
