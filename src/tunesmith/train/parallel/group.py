"""The processes of a run as a group: who is there, sums, and objects handed round.

Tensors on GPUs travel by NCCL; everything on the CPU, flags and objects among it, by gloo. Knows no models.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore

from tunesmith import env
from tunesmith.config.settings import Settings
from tunesmith.errors import RunError
from tunesmith.train.parallel.interface import choose_gloo_interface
from tunesmith.train.parallel.parallel import Value


@dataclass(frozen=True, slots=True)
class Group:
    """This process among the others.

    on_cpu: the group of the same processes that hands round what is on the CPU
    device: what this process works on
    """

    rank: int
    num_processes: int
    device: torch.device
    on_cpu: dist.ProcessGroup

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes; the values stay as they were."""
        added = values.detach().clone()
        self.add_up(added)
        return added

    def add_up(self, values: Tensor) -> None:
        """The sum over the processes, in place."""
        dist.all_reduce(values, group=self._group_of(values))

    def _group_of(self, values: Tensor) -> dist.ProcessGroup | None:
        return self.on_cpu if values.device.type == "cpu" else None

    def send_from_first(self, values: Tensor) -> None:
        """Replace `values`, contiguous, in every process by those of the first."""
        if values.numel():
            raw = values.view(-1).view(torch.uint8)  # gloo knows few formats
            dist.broadcast(raw, src=0, group=self._group_of(values))

    def gather(self, value: Value) -> list[Value]:
        """The value of every process, by rank."""
        values: list[Value | None] = [None] * self.num_processes
        dist.all_gather_object(values, value, group=self.on_cpu)
        return cast("list[Value]", values)

    def barrier(self) -> None:
        """Wait for all."""
        dist.barrier(group=self.on_cpu)

    def close(self) -> None:
        """Leave; what is still on its way is finished first."""
        if dist.is_initialized():
            dist.destroy_process_group()


def open_group(settings: Settings) -> Group:
    """Join the processes that the launcher started, or make a group of this one alone.

    Raises RunError where they do not find each other in `ddp_timeout` seconds.
    """
    parallel = settings.parallel
    device = _device(use_cpu=settings.training.use_cpu)
    backend = parallel.ddp_backend or ("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    timeout = timedelta(seconds=parallel.ddp_timeout)
    if env.world_size() > env.local_world_size():
        choose_gloo_interface(os.environ.get("MASTER_ADDR", ""))
    try:
        if "RANK" in os.environ:
            dist.init_process_group(backend, timeout=timeout)
        else:
            dist.init_process_group(backend, timeout=timeout, store=HashStore(), rank=0, world_size=1)
        on_cpu = _everyone() if backend == "gloo" else _group_of_all("gloo", timeout)
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise RunError(
            f"process {env.rank()} of {env.world_size()} on {socket.gethostname()} did not find the others at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} within {parallel.ddp_timeout} s: "
            f"{error}. Look whether all hosts reach that port, and set master_addr and master_port, "
            "or GLOO_SOCKET_IFNAME to the network interface that leads to the other hosts"
        ) from error
    return Group(dist.get_rank(), dist.get_world_size(), device, on_cpu)


def _group_of_all(backend: str, timeout: timedelta) -> dist.ProcessGroup:
    group = dist.new_group(backend=backend, timeout=timeout)
    assert isinstance(group, dist.ProcessGroup)
    return group


def _everyone() -> dist.ProcessGroup:
    group = dist.group.WORLD
    assert isinstance(group, dist.ProcessGroup)
    return group


def _device(*, use_cpu: bool) -> torch.device:
    """This process's GPU, by its number on the host."""
    if use_cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(env.local_rank() % torch.cuda.device_count())
    return torch.device("cuda", torch.cuda.current_device())
