"""Weights cut over two processes train as whole ones do in one: the same losses, gradients and weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
EXACT = ["full", "lora", "checkpointed", "gathered once", "offloaded", "pictures", "tower", "projector"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_processes(folder: Path, num_processes: int) -> list[dict[str, Any]]:
    """The results of every process, by rank."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(num_processes)}
    command = [sys.executable, "-m", "tests.train.parallel.fsdp2_process", str(folder)]
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    complaints = [process.communicate(timeout=600)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(complaints)[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(num_processes)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_processes(tmp_path_factory.mktemp("fsdp2"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_two_processes_train_as_one_does(results, name):
    for found in results:
        assert found[name]["loss"] < 1e-10
        assert found[name]["norm"] < 1e-11
        assert found[name]["weights"] < 1e-11
        assert found[name]["evaluation"] < 1e-11


@pytest.mark.slow
def test_a_step_of_text_alone_teaches_a_tower_nothing(results):
    assert results[0]["tower"]["smallest_norm"] == 0.0
    assert results[0]["projector"]["smallest_norm"] == 0.0
    assert results[0]["pictures"]["smallest_norm"] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_a_format_means_what_it_means_in_one_process(results, name):
    assert results[0][name]["loss"] < 1e-4
    assert results[0][name]["norm"] < 1e-5
    assert results[0][name]["weights"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXACT, "float32", "bf16", "loading"])
def test_each_process_holds_its_half(results, name):
    assert results[0][name]["part"] + results[1][name]["part"] == pytest.approx(1.0)
    assert results[1][name]["part"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_only_the_first_process_reads_the_model(results):
    first, second = (found["loading"] for found in results)
    assert first["devices"] == ["cpu"]
    assert second["devices"] == ["meta"]
    assert first["difference"] == second["difference"] == 0.0  # new adapters and all buffers among it


@pytest.mark.slow
def test_the_model_answers_outside_of_a_step(results):
    for found in results:
        assert found["loading"]["logits"] < 1e-5
        assert found["loading"]["same_answer"]
        assert found["loading"]["cut_again"]


@pytest.mark.slow
def test_a_model_that_the_first_process_cannot_read_stops_all(results):
    assert "/nowhere/at/all" in results[0]["failed"]
    assert results[1]["failed"] == results[0]["failed"]


@pytest.mark.slow
def test_packed_weights_are_cut_too(results):
    if results[0]["quantized"] is None:
        pytest.skip("bitsandbytes is not installed")
    first, second = (found["quantized"] for found in results)
    assert first["part"] + second["part"] == pytest.approx(1.0)
    assert first["loss"] < 1e-4
    assert first["norm"] < 1e-5
    assert first["weights"] < 1e-4
