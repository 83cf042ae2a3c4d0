"""Work done in several processes that find each other over gloo, as the launcher would start them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from random import Random
from typing import Any

import torch


def in_processes(work: Callable[..., Any], *arguments: Any, num_processes: int = 2) -> list[Any]:
    """What `work(*arguments)` returns in each process, by rank; a function of a module, with what can be pickled."""
    context = get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        waiting = [pool.submit(_begin, rank, num_processes, work, arguments) for rank in range(num_processes)]
        return [future.result(timeout=300) for future in waiting]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, and that no connection is given unasked until they are used."""
    candidates = Random(os.getpid()).sample(range(20_000, 32_000), k=1000)
    return list(islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def meet_at(port: int) -> None:
    """Where the processes find each other next."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def _begin(rank: int, num_processes: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(num_processes))
    os.environ.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(num_processes))
    return work(*arguments)
