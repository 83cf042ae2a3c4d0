"""Train in this very process, or start processes on this host: decided from settings and environment.

A process that already knows its rank (torchrun, srun, mpirun, or our own launcher started it) never starts others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunesmith import env, log
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.launch.asked import Asked, Environment, read_asked
from tunesmith.launch.devices import count_gpus, most_gpus
from tunesmith.launch.scheduler import Task, find_task, hosts_left_out

if TYPE_CHECKING:
    from tunesmith.config.settings import Settings

DEFAULT_PORT = 29500
"""torchrun's: where hosts meet if nobody says otherwise."""
_JOB = "tunesmith"


@dataclass(frozen=True, slots=True)
class Here:
    """Train in this process.

    num_processes: that train, this one among them
    variables: who it is, in torchrun's names, where a scheduler says it in its own
    """

    reason: str
    num_processes: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where and as what this host meets the others.

    host_rank: None where hosts number themselves (c10d)
    """

    backend: str
    address: str
    port: int
    job: str
    host_rank: int | None
    least: int
    most: int

    @property
    def is_elastic(self) -> bool:
        """Whether hosts may come and go."""
        return self.least < self.most


@dataclass(frozen=True, slots=True)
class Start:
    """Start so many processes on this host.

    meeting:  None where this host trains alone
    port:     for one host: where its processes meet; None takes a free one
    restarts: how often all begin again after one was killed
    """

    processes: int
    reason: str
    meeting: Meeting | None
    port: int | None
    restarts: int


CountGpus = Callable[[Environment], int]


def plan_launch(settings: Settings, environ: Environment, *, count: CountGpus = count_gpus) -> Here | Start:
    """What `tunesmith train` does with these settings here.

    Raises UsageError for what cannot be understood or does not fit together.
    """
    task = find_task(environ)
    if _is_ranked(environ):
        return _refuse_stage(settings, Here(f"process {env.rank()} of {env.world_size()}", env.world_size()))
    asked = read_asked(settings.parallel, environ)
    if task is not None and not task.alone_on_its_host:
        return _refuse_stage(settings, _as_task(task, asked))
    if not asked.several_hosts and (left_out := hosts_left_out(environ)):
        log.warning(f"Slurm gave {left_out + 1} hosts, and only this one trains; put `srun` before the command")
    num_processes, reason = _count_processes(settings, asked, environ, count)
    if task is not None and num_processes == 1 and not asked.several_hosts:
        return _refuse_stage(settings, _as_task(task, asked))
    meeting = _find_meeting(asked, task)
    if meeting is None and num_processes == 1 and not _needs_launcher(settings, asked):
        return Here(reason)
    port = None if meeting else asked.port
    return _refuse_stage(settings, Start(num_processes, reason, meeting, port, asked.restarts or 0))


def _is_ranked(environ: Environment) -> bool:
    """Whether this process is one of several already; a Kubernetes operator's RANK is a host's where PET_… is set."""
    if "RANK" not in environ and environ.get("WORLD_SIZE", "1").strip() not in {"", "0", "1"}:
        raise UsageError(
            f"WORLD_SIZE={environ['WORLD_SIZE']} is set and RANK is not; unset WORLD_SIZE, and say with nproc and "
            "nnodes how many processes train"
        )
    ranked = "WORLD_SIZE" in environ and "RANK" in environ
    return ranked and ("LOCAL_RANK" in environ or "PET_NNODES" not in environ)


def _needs_launcher(settings: Settings, asked: Asked) -> bool:
    """Whether somebody must watch even one process, to start it again."""
    cuts = settings.parallel.parallel in {"fsdp2", "deepspeed"} or settings.parallel.deepspeed is not None
    return bool(asked.restarts) or cuts or env.force_torchrun()


def _count_processes(settings: Settings, asked: Asked, environ: Environment, count: CountGpus) -> tuple[int, str]:
    """How many processes on this host, and why."""
    if asked.processes is not None:
        most = None if settings.training.use_cpu else most_gpus(environ)
        if most and asked.processes > most:
            raise UsageError(
                f"nproc is {asked.processes}, and {most} GPUs are visible; lower it, or train on the CPU with "
                "use_cpu: true"
            )
        return asked.processes, f"nproc: {asked.processes}"
    if settings.training.use_cpu:
        return 1, "use_cpu"
    num_gpus = count(environ)
    if settings.training.stage == "grpo":
        return 1, "stage grpo trains in one process"
    if num_gpus == 0:
        return 1, "no GPU"
    return num_gpus, "one GPU" if num_gpus == 1 else f"one for each of {num_gpus} GPUs"


def _refuse_stage(settings: Settings, plan: Here | Start) -> Here | Start:
    """Raises NotSupportedYetError where several processes would train by GRPO."""
    if settings.training.stage == "grpo" and _is_several(plan):
        raise NotSupportedYetError(
            "stage grpo trains in one process; leave nproc and nnodes out, and start `tunesmith train` without torchrun"
        )
    return plan


def _is_several(plan: Here | Start) -> bool:
    if isinstance(plan, Here):
        return plan.num_processes > 1
    return plan.processes > 1 or plan.meeting is not None


def _as_task(task: Task, asked: Asked) -> Here:
    address, port = asked.address or task.address, asked.port or task.port
    if address is None or port is None:
        raise UsageError(
            f"{task.scheduler} started {task.size} processes on several hosts and does not say where they meet; set "
            "master_addr and master_port (MASTER_ADDR and MASTER_PORT)"
        )
    reason = f"process {task.rank} of {task.size}, started by {task.scheduler}"
    return Here(reason, task.size, task.variables(address=address, port=port))


def _find_meeting(asked: Asked, task: Task | None) -> Meeting | None:
    if task is None and not asked.several_hosts:
        return None
    backend = asked.backend or ("c10d" if asked.job or asked.endpoint or asked.least < asked.most else "static")
    host_rank = asked.host_rank if task is None or asked.host_rank is not None else task.host_rank
    address, port = _find_endpoint(asked, task)
    _require_place(asked, backend, address=address, host_rank=host_rank)
    num_hosts = task.num_hosts if task is not None and not asked.several_hosts else None
    return Meeting(
        backend=backend,
        address=address or "",
        port=port,
        job=asked.job or _JOB,
        host_rank=host_rank,
        least=num_hosts or asked.least,
        most=num_hosts or asked.most,
    )


def _find_endpoint(asked: Asked, task: Task | None) -> tuple[str | None, int]:
    if asked.endpoint is None:
        offered = (None, None) if task is None else (task.address, task.port)
        return asked.address or offered[0], asked.port or offered[1] or DEFAULT_PORT
    address, _, port = asked.endpoint.rpartition(":")
    if not address and not port.isdecimal():
        return asked.endpoint, asked.port or DEFAULT_PORT
    if not address or not port.isdecimal():
        raise UsageError(f"rdzv_endpoint is {asked.endpoint}; expected host:port")
    return address, int(port)


def _require_place(asked: Asked, backend: str, *, address: str | None, host_rank: int | None) -> None:
    hosts = f"nnodes: {asked.least}" if asked.least == asked.most else f"nnodes: {asked.least}:{asked.most}"
    if address is None:
        raise UsageError(f"{hosts}: hosts must know where they meet; set master_addr to host 0's name (MASTER_ADDR)")
    if backend != "static":
        return
    if asked.least < asked.most:
        raise UsageError(f"{hosts}: a number of hosts that may change needs rdzv_backend: c10d")
    if host_rank is None:
        raise UsageError(f"{hosts}: each host must know its number; set node_rank (NODE_RANK), 0 on {address}")


def speaks(environ: Environment) -> bool:
    """Whether this process tells the user what there is to know about the settings: one of them does."""
    task = find_task(environ)
    return env.launcher() is None and env.rank() == 0 and (task is None or task.rank == 0)


def describe(plan: Here | Start) -> str:
    """For --dry-run: one line."""
    if isinstance(plan, Here):
        return f"trains in this process ({plan.reason})"
    text = f"starts {plan.processes} {'process' if plan.processes == 1 else 'processes'} ({plan.reason})"
    if plan.meeting is not None:
        meeting = plan.meeting
        hosts = str(meeting.most) if not meeting.is_elastic else f"{meeting.least} to {meeting.most}"
        number = "" if meeting.host_rank is None else f" as host {meeting.host_rank}"
        text += f" on each of {hosts} hosts, which meet at {meeting.address}:{meeting.port}{number} ({meeting.backend})"
    if plan.restarts:
        text += f", again up to {plan.restarts} times if one is killed"
    return text
