"""What is taken for the background is what the run was at that moment, whatever it becomes while it is written."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.train.checkpoint.saved import build, draft, resume, save, take
from tunesmith.train.checkpoint.write import write_alone
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.state import TrainState


def files_of(folder):
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return {name: (folder / name).read_bytes() for name in names if not name.endswith((".pt", "README.md"))}


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_copy_written_after_more_steps_is_the_checkpoint_of_its_own_step(tuning, qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, tuning)
    take(stepper, 2)
    state = TrainState(Place(2))
    save(tmp_path / "at-once", stepper, state)
    taken = draft(stepper, state, copied=True)
    state.place = Place(5)
    take(stepper, 3)
    write_alone(tmp_path / "later", taken)
    assert files_of(tmp_path / "later") == files_of(tmp_path / "at-once")
    fresh, expected = build(qwen2_folder, tuning), build(qwen2_folder, tuning)
    resume(tmp_path / "later", fresh)
    resume(tmp_path / "at-once", expected)
    take(fresh, 1)
    take(expected, 1)
    for one, other in zip(fresh.forward.model.parameters(), expected.forward.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_what_trains_is_copied(qwen2_folder):
    stepper = build(qwen2_folder, "lora")
    take(stepper, 1)
    taken = draft(stepper, TrainState(Place(1)), copied=True)
    own = {name: tensor.data_ptr() for name, tensor in stepper.forward.model.state_dict().items()}
    copied = {name for name, tensor in taken.model.items() if tensor.data_ptr() != own[name]}
    assert copied == {name for name, weight in stepper.forward.model.named_parameters() if weight.requires_grad}


def test_tied_weights_are_copied_once_and_stay_tied(qwen2_folder, tmp_path):
    stepper = build(qwen2_folder, "full")
    if not stepper.forward.model.config.tie_word_embeddings:
        stepper.forward.model.config.tie_word_embeddings = True
        stepper.forward.model.tie_weights()
    taken = draft(stepper, TrainState(Place(1)), copied=True, only_model=True)
    assert taken.model["lm_head.weight"] is taken.model["model.embed_tokens.weight"]
    write_alone(tmp_path / "step-1", taken)
    assert "lm_head.weight" not in load_file(tmp_path / "step-1" / "model.safetensors")
    assert not (tmp_path / "step-1" / "trainer").exists()
