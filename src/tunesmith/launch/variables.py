"""The environment variables that a process is started with: torchrun's names, and a few that make it run well."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tunesmith.launch.gathering import Place

ALLOCATOR = "expandable_segments:True"
_ALLOCATOR_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The first since torch 2.9, the second before and still."""


def name_process(place: Place, *, local_rank: int, num_local: int) -> dict[str, str]:
    """Who the process is, in torchrun's names, and in ours for what torchrun has none."""
    return {
        "RANK": str(place.first_rank + local_rank),
        "WORLD_SIZE": str(place.num_processes),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(num_local),
        "GROUP_RANK": str(place.host_rank),
        "GROUP_WORLD_SIZE": str(place.num_hosts),
        "MASTER_ADDR": place.address,
        "MASTER_PORT": str(place.port),
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TUNESMITH_ATTEMPT": str(place.record.attempt),
        "TUNESMITH_LAUNCHER": str(os.getpid()),
    }


def tune_process(environ: Mapping[str, str], *, num_local: int) -> dict[str, str]:
    """What a process runs better with, where the environment says nothing of it.

    OMP_NUM_THREADS: the host's cores shared evenly; without it every process starts a thread for each of them
    PYTORCH_ALLOC_CONF: memory of a GPU in segments that grow, so that batches of ever new lengths leave no gaps
    TORCH_NCCL_ASYNC_ERROR_HANDLING: a collective that never ends ends the process, as under torchrun
    """
    wanted = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1", "OMP_NUM_THREADS": str(share_of_cores(num_local))}
    return {**{name: value for name, value in wanted.items() if name not in environ}, **allocate_in_segments(environ)}


def allocate_in_segments(environ: Mapping[str, str]) -> dict[str, str]:
    """Both names of the allocator's variable, or nothing where either is set."""
    return {} if set(_ALLOCATOR_NAMES) & set(environ) else dict.fromkeys(_ALLOCATOR_NAMES, ALLOCATOR)


def share_of_cores(num_processes: int) -> int:
    """Cores of this host that this process may use, for each of so many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // num_processes, 1)
