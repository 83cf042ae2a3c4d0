"""A whole model in every process: gradients are summed once a step.

The sum comes after the last backward, in buckets, and not hidden behind it as torch's DistributedDataParallel does:
so a process without a picture, or without a micro-batch, or one that ran out of memory and splits its micro-batch,
takes part in the same sums as all others and none can hang. What that costs is measured in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from tunesmith.errors import RunError
from tunesmith.train.parallel.gradients import fill_missing, sum_in_buckets
from tunesmith.train.parallel.group import Group
from tunesmith.train.parallel.parallel import EngineName, Loaded, Value
from tunesmith.train.parallel.single import SingleProcess


class Replicas(SingleProcess):
    """See Parallel: what differs from one process."""

    name: EngineName = "ddp"

    def __init__(self, group: Group) -> None:
        self.group = group
        self.rank = group.rank
        self.num_processes = group.num_processes

    def load(self, build: Callable[[], Loaded]) -> Loaded:
        """What `build` makes, in every process.

        Raises RunError where the processes do not hold the same trained weights (other files on one of the hosts).
        """
        model = build()
        seen = self.gather((socket.gethostname(), _digest(model)))
        others = [f"{host} (process {rank})" for rank, (host, digest) in enumerate(seen) if digest != seen[0][1]]
        if others:
            raise RunError(
                f"the weights that train differ between the processes: {', '.join(others)} began with others than "
                f"process 0 on {seen[0][0]}. Give every host the same model files"
            )
        return model

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sums in buckets, in the order of the parameters."""
        parameters = list(parameters)
        fill_missing(parameters)
        sum_in_buckets([parameter.grad for parameter in parameters if parameter.grad is not None], self.group.add_up)

    def sum(self, values: Tensor) -> Tensor:
        """See Parallel."""
        return self.group.sum(values)

    def gather(self, value: Value) -> list[Value]:
        """See Parallel."""
        return self.group.gather(value)

    def barrier(self) -> None:
        """See Parallel."""
        self.group.barrier()

    def close(self) -> None:
        """See Parallel."""
        self.group.close()


def _digest(model: nn.Module) -> str:
    """Of names, shapes and a sum over the bits of what trains."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            bits = parameter.detach().contiguous().view(torch.uint8)
            digest.update(f"{name}{tuple(parameter.shape)}{int(bits.sum(dtype=torch.int64))}".encode())
    return digest.hexdigest()
