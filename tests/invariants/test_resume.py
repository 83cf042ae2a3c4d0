"""A run that was killed and resumed equals the run never killed: weights bit for bit, and every metric."""

from __future__ import annotations

import random
import signal

import pytest
import torch

from tests.invariants.killed_runs import copy_until, lines_of, start, wait_for
from tests.train.runs import assert_same_run, run, run_settings, write_documents, write_rows

STEPS = 9  # 10 rows in batches of 2 by 2: three steps an epoch, the last with one micro-batch


WAYS = {
    "packs": {"packing": True, "cutoff_len": 80, "dataloader_num_workers": 2},
    "padding-free": {"per_device_train_batch_size": 4, "dataloader_num_workers": 1},
    "similar lengths": {"group_by_length": True},
    "token budgets": {"batch_tokens": 70},
    "stream": {"streaming": True, "buffer_size": 4, "max_steps": STEPS},
    "stream of packs": {"streaming": True, "packing": True, "cutoff_len": 80, "max_steps": STEPS},
    "mixture": {"mix_strategy": "interleave_over", "interleave_probs": "0.5,0.3,0.2"},
    "stream of a mixture": {"streaming": True, "mix_strategy": "interleave_once", "max_steps": STEPS},
    "documents": {"stage": "pt", "cutoff_len": 64, "per_device_train_batch_size": 3, "dataloader_num_workers": 1},
    "documents of similar length": {"stage": "pt", "cutoff_len": 40, "group_by_length": True},
    "stream of documents": {"stage": "pt", "cutoff_len": 64, "streaming": True, "max_steps": STEPS},
}
"""Ways to make batches of rows, other than two rows after two in a shuffled epoch."""


def prepare(kind, tuning, tmp_path, request, **changes):
    """Settings of the run to compare with, which is trained here to its end."""
    model = request.getfixturevalue(f"{kind}_folder")
    rows = write_rows(tmp_path, images=kind == "qwen2_5_vl")
    settings = run_settings(model, rows, tmp_path / "whole", finetuning_type=tuning, **changes)
    assert run(settings).steps == STEPS
    return settings


def prepare_way(way, tmp_path, request):
    """Settings of a finished run that makes its batches in one of WAYS, logging and saving every step."""
    write = write_documents if "documents" in way else write_rows
    datasets = [write(tmp_path, name=f"rows-{number}.json", count=10 - number) for number in range(3)]
    dataset = ",".join(map(str, datasets)) if "mixture" in way else str(datasets[0])
    model = request.getfixturevalue("qwen2_folder")
    changes = {"logging_steps": 1, "save_steps": 1, "gradient_accumulation_steps": 1} | WAYS[way]
    settings = run_settings(model, dataset, tmp_path / "whole", **changes)
    assert run(settings).steps >= 6
    return settings


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_every_checkpoint_continues_exactly(kind, tuning, tmp_path, request):
    """Step 2 and 4 lie in the middle of an epoch, before its short last step."""
    settings = prepare(kind, tuning, tmp_path, request, val_size=0.0, save_steps=2)
    for step in (2, 4):
        resumed = tmp_path / f"from-{step}"
        copy_until(tmp_path / "whole", resumed, step)
        torch.manual_seed(step)  # whatever state the process is in must not matter
        run(settings, output_dir=str(resumed), resume_from_checkpoint=True)
        assert_same_run(tmp_path / "whole", resumed)


@pytest.mark.parametrize("way", WAYS)
def test_whatever_makes_the_batches_goes_on_at_the_very_next_row(way, tmp_path, request):
    settings = prepare_way(way, tmp_path, request)
    resumed = tmp_path / "resumed"
    copy_until(tmp_path / "whole", resumed, 4)
    run(settings, output_dir=str(resumed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", resumed)
    assert (resumed / "data_report.json").read_text() == (tmp_path / "whole" / "data_report.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tuning", "during_save", "background"),
    [
        ("qwen2", "lora", False, False),
        ("qwen2", "full", True, False),
        ("qwen2", "full", True, True),
        ("qwen2_5_vl", "lora", True, False),
        ("qwen2_5_vl", "full", False, True),
    ],
)
def test_killed_anywhere_and_resumed(kind, tuning, during_save, background, tmp_path, request):
    changes = {"logging_steps": 1, "save_steps": 1, "save_in_background": background}
    settings = prepare(kind, tuning, tmp_path, request, **changes)
    killed = tmp_path / "killed"
    process = start(settings, killed)
    step = random.Random(f"{kind} {tuning}").randint(2, STEPS - 3)
    if during_save:
        wait_for((killed / "checkpoints" / f".writing-step-{step}").exists, process)
    else:
        wait_for(lambda: lines_of(killed) >= step, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    if during_save:
        assert (killed / "checkpoints" / f".writing-step-{step}").exists(), "killed too late: in no save"
        assert not (killed / "checkpoints" / f"step-{step}").exists()
    assert not list(killed.glob("*.safetensors"))
    run(settings, output_dir=str(killed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", killed)
    assert not list((killed / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["packs", "stream of a mixture", "documents"])
def test_batches_of_every_way_survive_a_kill(way, tmp_path, request):
    settings = prepare_way(way, tmp_path, request)
    killed = tmp_path / "killed"
    process = start(settings, killed)
    wait_for(lambda: lines_of(killed) >= 4, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(settings, output_dir=str(killed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", killed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_runs_save_and_exit_130_and_go_on_exactly(number, tmp_path, request):
    settings = prepare("qwen2", "lora", tmp_path, request, logging_steps=1, save_steps=100)
    stopped = tmp_path / "stopped"
    process = start(settings, stopped)
    wait_for(lambda: lines_of(stopped) >= 2, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "saved in" in errors
    run(settings, output_dir=str(stopped), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", stopped)
