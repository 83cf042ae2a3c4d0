"""What runs share their steps by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Engine:
    """`words` of the command line choose it."""

    name: str
    num_processes: int
    words: tuple[str, ...] = ()


SINGLE = Engine("single", 1)
DDP = Engine("ddp", 2, ("parallel=ddp",))
FSDP2 = Engine("fsdp2", 2, ("parallel=fsdp2",))
DEEPSPEED = Engine("deepspeed", 2, ("deepspeed=zero2",))
