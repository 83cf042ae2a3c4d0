"""How many processes train, on how many hosts, by which engine; and what a run does when something breaks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.config.section import Optional, Section

Engine = Literal["auto", "ddp", "fsdp2", "deepspeed"]
OnNan = Literal["stop", "skip"]
OnOom = Literal["split", "stop"]


class ParallelSettings(Section):
    """Processes and engines."""

    parallel: Engine = "auto"
    """auto, ddp (a whole model in every process), fsdp2 or deepspeed (weights and optimiser cut over the processes)."""
    deepspeed: Annotated[dict[str, Any] | str | None, Optional] = None
    """zero1, zero2, zero3, each with _offload or without, or a DeepSpeed JSON whose values may be "auto"."""
    cpu_offload: bool = False
    """fsdp2 and deepspeed: weights and optimiser in the host's memory."""
    reshard_after_forward: bool = True
    """fsdp2: free a layer's gathered weights after its forward; false keeps them for the backward: faster, more memory.
    """

    nproc: Annotated[str | None, Optional] = None
    """Processes on this host; None or auto: one for every visible GPU, one on the CPU (NPROC_PER_NODE)."""
    nnodes: Annotated[str | None, Optional] = None
    """Hosts, or least:most of them (NNODES)."""
    node_rank: int | None = Field(None, ge=0)
    """This host's number from 0 (NODE_RANK)."""
    master_addr: Annotated[str | None, Optional] = None
    """Name or address of host 0 (MASTER_ADDR)."""
    master_port: int | None = Field(None, gt=0, lt=65536)
    """A free port of host 0 (MASTER_PORT)."""
    rdzv_id: Annotated[str | None, Optional] = None
    """Name of the job at its meeting point, the same on all hosts (RDZV_ID)."""
    rdzv_backend: Annotated[str | None, Optional] = None
    """Kind of meeting point: c10d or static."""
    rdzv_endpoint: Annotated[str | None, Optional] = None
    """host:port of the meeting point; None takes master_addr and master_port."""
    max_restarts: int | None = Field(None, ge=0)
    """How often all processes are started again from the last checkpoint when one dies (MAX_RESTARTS)."""
    ddp_timeout: int = Field(1800, gt=0)
    """Seconds after which a process stops waiting for the others."""
    ddp_backend: Annotated[Literal["nccl", "gloo"] | None, Optional] = None
    """How processes talk; None: nccl between GPUs, gloo between CPUs."""

    on_nan: OnNan = "stop"
    """A loss or gradient that is not finite: stop at the last good checkpoint, or skip the step."""
    on_oom: OnOom = "split"
    """A micro-batch that does not fit into memory: split it and go on with the same step, or stop."""
    save_in_background: bool | None = None
    """Write checkpoints while training goes on; None: where the weights are on a GPU."""
    full_determinism: bool = False
    """The same numbers bit for bit in every run on the same machines, at some cost in speed."""
