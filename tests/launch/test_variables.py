"""The environment that a process is started with."""

from __future__ import annotations

import os

from tunesmith.launch.gathering import Place, Record
from tunesmith.launch.variables import allocate_in_segments, name_process, share_of_cores, tune_process


def test_a_process_knows_its_place() -> None:
    place = Place(8, 16, 1, 2, "gpu-a", 20123, Record(attempt=3))
    assert name_process(place, local_rank=2, num_local=8) == {
        "RANK": "10",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": "2",
        "LOCAL_WORLD_SIZE": "8",
        "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "2",
        "MASTER_ADDR": "gpu-a",
        "MASTER_PORT": "20123",
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TUNESMITH_ATTEMPT": "3",
        "TUNESMITH_LAUNCHER": str(os.getpid()),
    }


def test_what_is_set_stays() -> None:
    assert tune_process({"OMP_NUM_THREADS": "7", "PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, num_local=2) == {
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"
    }
    assert allocate_in_segments({}) == {
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }


def test_cores_are_shared() -> None:
    cores = len(os.sched_getaffinity(0))
    assert (share_of_cores(1), share_of_cores(cores), share_of_cores(10 * cores)) == (cores, 1, 1)
