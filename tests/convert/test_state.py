"""What engines wrote in parts comes out as the model that was trained, weight for weight."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict_saver import save
from transformers import AutoModelForCausalLM

from tunesmith.convert.state import convert_state
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.files.engine_parts import find_parts
from tunesmith.train.checkpoint.held import WEIGHT, Key, Piece
from tunesmith.train.checkpoint.pieces import PiecesPart
from tunesmith.train.checkpoint.schedule_state import ScheduleState
from tunesmith.train.checkpoint.sharded import write_shards


def trained(folder):
    """The weights of a model after a training."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(weight.shape, generator=generator) for name, weight in model.named_parameters()}


def exported(source, folder, output, *more):
    convert_state(source, [f"model_name_or_path={folder}", f"export_dir={output}", *more])
    model = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)
    return dict(model.named_parameters())


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("prefix", [f"{WEIGHT}/", "", "model.", "module."])
def test_fsdps_distributed_checkpoint_under_whatever_names(prefix, qwen2_folder, tmp_path):
    weights = trained(qwen2_folder)
    place = tmp_path / "pytorch_model_fsdp_0"
    state = {f"{prefix}{name}": weight for name, weight in weights.items()}
    save(state | {"other/thing": torch.zeros(3)}, checkpoint_id=place, no_dist=True)
    assert find_parts(tmp_path) == place
    assert_equal(exported(tmp_path, qwen2_folder, tmp_path / "out"), weights)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (qwen2_folder / "tokenizer.json").read_bytes()


def test_parts_of_a_run_find_their_base_in_it_and_what_did_not_train_stays(qwen2_folder, tmp_path):
    weights = dict(list(trained(qwen2_folder).items())[3:7])
    trainer = tmp_path / "run" / "checkpoints" / "step-4" / "trainer"
    write_shards({Key(WEIGHT, name): weight for name, weight in weights.items()}, trainer, group=None)
    (tmp_path / "run" / "run.yaml").write_text(f"model_name_or_path: {qwen2_folder}\n")
    convert_state(trainer, [f"export_dir={tmp_path / 'out'}", "export_size=0.00002"])
    base = dict(AutoModelForCausalLM.from_pretrained(qwen2_folder, dtype=torch.float32).named_parameters())
    found = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).named_parameters())
    assert_equal(found, base | weights)
    assert len([*(tmp_path / "out").glob("model-*-of-*.safetensors")]) > 3


def test_pieces_of_several_processes(qwen2_folder, tmp_path):
    weights = trained(qwen2_folder)
    schedule = ScheduleState(0.0, {"last_epoch": 1}, {})
    for rank in (0, 1):
        pieces = {}
        for name, weight in weights.items():
            cut = weight.numel() // 3
            start, end = ((0, cut), (cut, weight.numel()))[rank]
            pieces[Key(WEIGHT, name)] = Piece(weight.flatten()[start:end], start, weight.shape)
        (tmp_path / "trainer").mkdir(exist_ok=True)
        PiecesPart(pieces, {}, schedule, rank, 2).write(tmp_path / "trainer", None)
    assert_equal(exported(tmp_path, qwen2_folder, tmp_path / "out"), weights)
    (tmp_path / "trainer" / "pieces" / "0001-of-0002.safetensors").unlink()
    with pytest.raises(Exception, match="lacks the parts of processes 1 of 2"):
        exported(tmp_path, qwen2_folder, tmp_path / "again")


def test_what_does_not_fit_is_named(qwen2_folder, tmp_path):
    weights = trained(qwen2_folder)
    name = next(iter(weights))
    for place, state in (
        ("other", {"something.else": torch.zeros(3)}),
        ("shape", {name: torch.zeros(3)}),
        ("adapter", {"base_model.model.layers.0.q_proj.lora_A.default.weight": torch.zeros(3)}),
    ):
        save(state, checkpoint_id=tmp_path / place, no_dist=True)
    with pytest.raises(ModelError, match="holds no weight of the model"):
        exported(tmp_path / "other", qwen2_folder, tmp_path / "out")
    with pytest.raises(ModelError, match=r"is \(3,\) in .*shape and .* in the base"):
        exported(tmp_path / "shape", qwen2_folder, tmp_path / "out")
    with pytest.raises(ModelError, match="holds the weights of an adapter"):
        exported(tmp_path / "adapter", qwen2_folder, tmp_path / "out")
    with pytest.raises(UsageError, match="does not say which model it is of"):
        convert_state(tmp_path / "other", [f"export_dir={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_model_beside_its_parts_is_a_model(qwen2_folder, tmp_path):
    shutil.copytree(qwen2_folder, tmp_path / "step-1")
    save({"a": torch.zeros(3)}, checkpoint_id=tmp_path / "step-1" / "trainer" / "sharded", no_dist=True)
    assert find_parts(tmp_path / "step-1") is None
    assert load_file(tmp_path / "step-1" / "model.safetensors")
