"""ZeRO-1, 2 and 3 over two processes train as one process does: the same losses, gradients and weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_folder
from tests.train.preference_runs import preference_settings, write_preferences
from tests.train.runs import final_weights, metrics_without_times, run, run_settings, write_rows
from tests.train.together import free_ports, in_processes

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'tunesmith[deepspeed]'")
from tests.train.parallel.deepspeed_process import CASES, compare_cases, everything

EXACT = [name for name in CASES if "bf16" not in name]
MIXED = {"finetuning_type": "full", "learning_rate": 1e-3, "freeze_vision_tower": False, "max_steps": 4}
ENGINES = ("zero1", "zero2", "zero3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all runs are written."""
    return tmp_path_factory.mktemp("deepspeed")


@pytest.fixture(scope="module")
def results(folder) -> list[dict[str, Any]]:
    """Of each process: cases, and whole runs (rows of which some have pictures, resumed ones, pairs); beside them the
    runs of one process."""
    seeing, telling = tiny_folder("qwen2_5_vl", folder / "vl"), tiny_folder("qwen2", folder / "text")
    mixed = {**run_settings(seeing, _mixed_rows(folder), folder / "single", **MIXED), "gradient_accumulation_steps": 2}
    (pairs := folder / "pairs").mkdir()
    write_preferences(pairs, stage="dpo")
    dpo = preference_settings(telling, pairs, stage="dpo", max_steps=3, gradient_accumulation_steps=2)
    from_zero3 = {"resume_from_checkpoint": str(folder / "zero3/checkpoints/step-2")}
    changed = [
        *(mixed | {"deepspeed": engine, "output_dir": str(folder / engine)} for engine in ENGINES),
        mixed | {"deepspeed": "zero3", "output_dir": str(folder / "resumed"), **from_zero3},
        mixed | {"deepspeed": "zero1", "output_dir": str(folder / "by_zero1"), **from_zero3},
        dpo | {"deepspeed": "zero3", "output_dir": str(folder / "dpo3")},
    ]
    runs = [settings | {"gradient_accumulation_steps": 1} for settings in changed]
    found = in_processes(everything, runs, free_ports(len(CASES) + 1 + len(runs)))
    run(mixed)
    run(dpo, output_dir=str(folder / "dpo"))
    run(mixed, output_dir=str(folder / "by_one"), **from_zero3)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_two_processes_train_as_one_does(results, name):
    for found in results:
        assert found["cases"][name]["loss"] < 1e-6
        assert found["cases"][name]["norm"] < 2e-6
        assert found["cases"][name]["weights"] < 2e-5  # after three steps of AdamW at a rate of 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero2, bf16", "zero3, bf16"])
def test_sixteen_bits_are_as_near_as_they_can_be(results, name):
    for found in results:
        assert 0 < found["cases"][name]["loss"] < 0.02
        assert found["cases"][name]["norm"] < 0.05


@pytest.mark.slow
def test_three_processes_sum_as_one_does():
    """A mean over three, and back, is no number that 32 bits can hold exactly."""
    names = ["zero1", "zero3, tied and checkpointed"]
    for found in in_processes(compare_cases, names, free_ports(2), num_processes=3):
        assert all(case["loss"] < 1e-6 and case["norm"] < 2e-6 for case in found.values())


@pytest.mark.slow
def test_a_step_that_is_given_up_leaves_no_gradient_behind(results):
    assert [found["given up"] for found in results] == [True, True]


@pytest.mark.slow
def test_every_run_ends_in_its_folder(results, folder):
    names = [*ENGINES, "resumed", "by_zero1", "dpo3"]
    assert [found["runs"] for found in results] == [[str(folder / name) for name in names]] * 2


def _mixed_rows(folder: Path) -> Path:
    """Eleven rows, four of them with a picture: of some steps only one process has any."""
    pictures = json.loads(write_rows(folder, count=11, images=True, name="pictures.json").read_text())
    texts = json.loads(write_rows(folder, count=11).read_text())
    file = folder / "mixed.json"
    file.write_text(json.dumps([pictures[row] if row in (0, 3, 4, 9) else texts[row] for row in range(11)]))
    return file


def _assert_near(one: Path, other: Path, *, weights: float) -> None:
    expected, found = final_weights(one), final_weights(other)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=weights, msg=name)
    last: dict[str, Any] = metrics_without_times(one)[-1]
    for key in ("loss", "grad_norm"):
        assert metrics_without_times(other)[-1][key] == pytest.approx(last[key], rel=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("results")
def test_rows_with_and_without_pictures(folder, engine):
    _assert_near(folder / "single", folder / engine, weights=5e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("results")
def test_a_resumed_run_is_the_run_that_never_stopped(folder):
    expected, found = final_weights(folder / "zero3"), final_weights(folder / "resumed")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.slow
@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("name", ["by_zero1", "by_one"])
def test_another_engine_goes_on_from_the_checkpoint(folder, name):
    _assert_near(folder / "zero3", folder / name, weights=5e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("results")
def test_pairs_are_compared_with_the_model_below_the_adapter(folder):
    _assert_near(folder / "dpo", folder / "dpo3", weights=5e-6)
