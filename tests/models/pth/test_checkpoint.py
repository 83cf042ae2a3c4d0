"""Reading what XTuner saved: no code runs, pieces come together, and what is wrong with a file is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.convert.xtuner import write_pth, write_zero2, write_zero3
from tunesmith.errors import ModelError
from tunesmith.models.pth.checkpoint import read_checkpoint
from tunesmith.models.pth.pickles import load_pickle
from tunesmith.models.pth.zero import read_zero

WEIGHTS = {
    "llm.model.norm.weight": torch.arange(5.0),
    "llm.lm_head.weight": torch.arange(21.0).view(7, 3),
    "visual_encoder.vision_model.post_layernorm.bias": torch.arange(2.0),
    "projector.model.0.bias": torch.arange(11.0),
}


@pytest.mark.parametrize("num_processes", [1, 2, 3, 8])
def test_the_pieces_of_every_number_of_processes_come_together(num_processes: int, tmp_path: Path) -> None:
    for write in (write_zero2, write_zero3):
        folder = write(tmp_path / f"{write.__name__}.pth", WEIGHTS, num_processes=num_processes, config="lr = 1")
        saved = read_checkpoint(folder)
        assert torch.equal(saved.language_model["model.norm.weight"], torch.arange(5.0))
        assert torch.equal(saved.language_model["lm_head.weight"], torch.arange(21.0).view(7, 3))
        assert torch.equal(saved.vision_tower["vision_model.post_layernorm.bias"], torch.arange(2.0))
        assert torch.equal(saved.projector["model.0.bias"], torch.arange(11.0))
        assert saved.config_text == "lr = 1" and saved.reads_images


def test_more_than_ten_processes_are_read_in_order(tmp_path: Path) -> None:
    weights = {"llm.a": torch.arange(500.0)}
    folder = write_zero2(tmp_path / "iter_1.pth", weights | {"llm.b": torch.ones(3)}, num_processes=12)
    assert torch.equal(read_checkpoint(folder).language_model["a"], torch.arange(500.0))


def test_frozen_parameters_buffers_and_shared_ones(tmp_path: Path) -> None:
    trained = {"llm.a": torch.ones(3), "llm.b": torch.ones(2)}
    folder = write_zero3(tmp_path / "iter_1.pth", trained, num_processes=2)
    for rank in range(2):
        file = folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
        state = load_pickle(file)
        state["message_hub"] = None
        state["frozen_param_shapes"] = {"llm.frozen": torch.Size([3])}
        state["frozen_param_fragments"] = {"llm.frozen": torch.tensor([[1.0, 2.0], [3.0, 0.0]][rank])}
        state["module"], state["buffer_names"] = {"llm.counter": torch.tensor(7)}, ["llm.counter"]
        state["shared_params"] = {"llm.head": "llm.a"}
        torch.save(state, file)
    weights = read_zero(folder).weights
    assert weights["llm.frozen"].tolist() == [1, 2, 3] and weights["llm.counter"] == 7
    assert torch.equal(weights["llm.head"], torch.ones(3))


def test_without_zero_the_weights_stand_in_the_models_file(tmp_path: Path) -> None:
    (tmp_path / "iter_1.pth").mkdir()
    torch.save({"module": {"llm.a": torch.ones(2)}}, tmp_path / "iter_1.pth/mp_rank_00_model_states.pt")
    assert torch.equal(read_checkpoint(tmp_path / "iter_1.pth").language_model["a"], torch.ones(2))


def test_a_process_whose_file_was_not_copied_is_missed(tmp_path: Path) -> None:
    for write in (write_zero2, write_zero3):
        folder = write(tmp_path / f"{write.__name__}.pth", WEIGHTS, num_processes=3)
        next(folder.glob("*rank_1_mp_rank_00_optim_states.pt")).unlink()
        with pytest.raises(ModelError, match=r"written by 3 processes and holds 2 files"):
            read_checkpoint(folder)


def test_pieces_of_different_checkpoints_are_told(tmp_path: Path) -> None:
    for write in (write_zero2, write_zero3):
        folder = write(tmp_path / f"{write.__name__}.pth", WEIGHTS, num_processes=2)
        write(folder, {name: torch.ones(90) for name in WEIGHTS}, num_processes=2)
        states = [file for file in folder.glob("*_model_states.pt")]
        write(tmp_path / "again", WEIGHTS, num_processes=2)
        for file in states:
            file.write_bytes((tmp_path / "again" / file.name).read_bytes())
        with pytest.raises(ModelError, match="different checkpoints or incomplete"):
            read_checkpoint(folder)


def test_what_users_give_by_mistake(tmp_path: Path) -> None:
    folder = write_zero2(tmp_path / "iter_1.pth", WEIGHTS, num_processes=2)
    with pytest.raises(ModelError, match="give its folder"):
        read_checkpoint(folder / "mp_rank_00_model_states.pt")
    with pytest.raises(ModelError, match=r"did you mean .*iter_1\.pth"):
        read_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "iter_2.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no weights by name"):
        read_checkpoint(tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"holds the weight encoder\.weight"):
        read_checkpoint(write_pth(tmp_path / "other.pth", {"encoder.weight": torch.ones(1)}))
    (tmp_path / "cut.pth").write_bytes((write_pth(tmp_path / "x.pth", WEIGHTS)).read_bytes()[:-200])
    with pytest.raises(ModelError, match="copy it again"):
        read_checkpoint(tmp_path / "cut.pth")


def test_the_reference_model_of_dpo_is_not_part_of_the_result(tmp_path: Path) -> None:
    weights = {"llm.a": torch.ones(2), "ref_llm.a": torch.zeros(2)}
    assert list(read_checkpoint(write_pth(tmp_path / "iter_1.pth", weights)).language_model) == ["a"]


class _Calls:
    def __init__(self, function: Any, *given: Any) -> None:
        self._call = (function, given)

    def __reduce__(self) -> tuple[Any, Any]:
        return self._call


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for index, trap in enumerate((_Calls(os.mkdir, str(ran)), _Calls(eval, f"open({str(ran)!r}, 'w')"))):
        file = tmp_path / f"{index}.pth"
        torch.save({"state_dict": {"llm.a": torch.ones(1)}, "meta": trap}, file)
        with pytest.raises(ModelError, match=r"asks for the code (posix\.mkdir|builtins\.eval).*does not run"):
            read_checkpoint(file)
        torch.save({"llm.a": torch.ones(1), "meta": trap}, file, _use_new_zipfile_serialization=False)
        with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
            read_checkpoint(file)
    assert not ran.exists()


def test_objects_of_other_packages_stay_empty(tmp_path: Path) -> None:
    content = load_pickle(write_pth(tmp_path / "iter_1.pth", WEIGHTS))
    curve = content["message_hub"]["log_scalars"]["train/loss"]
    assert type(curve).__module__ == "tunesmith.models.pth.pickles" and not vars(curve)


def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    whole = write_pth(tmp_path / "whole.pth", {"llm.a": torch.ones(5_000)}).read_bytes()
    file = tmp_path / "cut.pth"
    for size in (0, 3, 10, len(whole) // 2, len(whole) - 5):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cut\.pth cannot be read as a checkpoint .* copy it again"):
            read_checkpoint(file)


def test_nobody_is_told_to_run_the_code_in_a_file(tmp_path: Path) -> None:
    trap = _Calls(os.mkdir, str(tmp_path / "ran"))
    for is_archive, said in ((True, "asks for the code"), (False, "not made of tensors alone")):
        file = tmp_path / "trap.pth"
        torch.save({"meta": trap}, file, _use_new_zipfile_serialization=is_archive)
        with pytest.raises(ModelError, match=said) as refused:
            load_pickle(file)
        assert "weights_only" not in str(refused.value)
        assert is_archive is not ("copy it again" in str(refused.value))
    assert not (tmp_path / "ran").exists()
