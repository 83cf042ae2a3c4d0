"""What Slurm's srun and mpirun tell a process that they started: who it is among the others.

    SLURM_PROCID=3 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_JOB_NODELIST=gpu-[01-04]   →   Task(rank=3, size=8, …)

Pure functions of the environment. In a batch script, before srun, the same variables stand for nobody in particular:
there is no task then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tunesmith.errors import UsageError

Environment = Mapping[str, str]

_FIRST_PORT, _NUM_PORTS = 20000, 12000
"""Below the ports that Linux gives to outgoing connections."""
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")
_MPI = {
    "Open MPI": (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "MPI": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One of the processes that a scheduler started.

    host_rank, num_hosts: None where it does not say
    address, port: where they can meet
    """

    scheduler: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    host_rank: int | None
    num_hosts: int | None
    address: str | None
    port: int | None

    @property
    def alone_on_its_host(self) -> bool:
        """One task a host: it is to start the others of its host."""
        return self.num_hosts is not None and self.size == self.num_hosts

    def variables(self, *, address: str, port: int) -> dict[str, str]:
        """What torch wants to know, by torchrun's names."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }


def find_task(environ: Environment) -> Task | None:
    """This process as one of several tasks; None where no scheduler started it, or started it alone."""
    task = _slurm_task(environ) or _mpi_task(environ)
    return task if task is not None and task.size > 1 else None


def hosts_left_out(environ: Environment) -> int:
    """Hosts that Slurm gave to a batch script and that will not take part, because srun was not used."""
    if not _in_batch_script(environ):
        return 0
    return max(_number(environ, "SLURM_JOB_NUM_NODES", "SLURM_NNODES", default=1) - 1, 0)


def expand_hosts(text: str) -> list[str]:
    """`node[01-03,7],gpu-a` → node01, node02, node03, node7, gpu-a. Raises UsageError for anything else."""
    return [name for word in _split_outside(text) for name in _expand(word.strip(), text)]


def _slurm_task(environ: Environment) -> Task | None:
    if "SLURM_PROCID" not in environ or _in_batch_script(environ):
        return None
    size = _number(environ, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", default=1)
    num_hosts = _number(environ, "SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES", default=0)
    host_rank = _number(environ, "SLURM_NODEID", default=0)
    hosts = expand_hosts(_word(environ, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"))
    job, step = _number(environ, "SLURM_JOB_ID", "SLURM_JOBID", default=0), _number(environ, "SLURM_STEP_ID", default=0)
    return Task(
        scheduler="Slurm",
        rank=_number(environ, "SLURM_PROCID", default=0),
        size=size,
        local_rank=_number(environ, "SLURM_LOCALID", default=0),
        local_size=_tasks_on(host_rank, environ, size=size, num_hosts=num_hosts or len(hosts)),
        host_rank=host_rank,
        num_hosts=num_hosts or len(hosts) or 1,
        address=hosts[0] if hosts else None,
        port=_FIRST_PORT + (job + step) % _NUM_PORTS,
    )


def _in_batch_script(environ: Environment) -> bool:
    """sbatch sets ENVIRONMENT=BATCH; what srun starts in it has a step of its own."""
    return environ.get("ENVIRONMENT") == "BATCH" and not {"SLURM_STEP_ID", "SLURM_STEPID"} & set(environ)


def _tasks_on(host: int, environ: Environment, *, size: int, num_hosts: int) -> int:
    """`2(x3),1` is two tasks on each of three hosts and one on a fourth."""
    counts: list[int] = []
    for count, times in _TASKS.findall(_word(environ, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")):
        counts += [int(count)] * int(times or 1)
    return counts[host] if host < len(counts) else max(size // max(num_hosts, 1), 1)


def _mpi_task(environ: Environment) -> Task | None:
    for scheduler, (rank, size, local_rank, local_size) in _MPI.items():
        if rank in environ and size in environ:
            num_tasks = _number(environ, size, default=1)
            on_host = _number(environ, local_size, default=num_tasks)
            return Task(
                scheduler=scheduler,
                rank=_number(environ, rank, default=0),
                size=num_tasks,
                local_rank=_number(environ, local_rank, default=0),
                local_size=on_host,
                host_rank=None,
                num_hosts=None,
                address="127.0.0.1" if on_host == num_tasks else None,
                port=_FIRST_PORT if on_host == num_tasks else None,
            )
    return None


def _word(environ: Environment, *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _number(environ: Environment, *names: str, default: int) -> int:
    name = next((name for name in names if environ.get(name)), None)
    if name is None:
        return default
    if not environ[name].strip().isdecimal():
        raise UsageError(f"environment variable {name}={environ[name]!r} is not a whole number")
    return int(environ[name])


def _split_outside(text: str) -> list[str]:
    """Words between commas that stand in no brackets."""
    words, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            words.append("")
        else:
            words[-1] += letter
    return [word for word in words if word.strip()]


def _expand(word: str, text: str) -> Iterator[str]:
    head, bracket, rest = word.partition("[")
    if not bracket:
        yield word
        return
    inside, end, tail = rest.partition("]")
    if not end:
        raise UsageError(f"Slurm's list of hosts {text!r} cannot be read; expected names like node[01-03,7],gpu-a")
    for part in inside.split(","):
        for number in _numbers(part.strip(), text):
            for following in _expand(tail, text):
                yield head + number + following


def _numbers(part: str, text: str) -> Iterator[str]:
    first, dash, last = part.partition("-")
    last = last if dash else first
    if not first.isdecimal() or not last.isdecimal():
        raise UsageError(f"Slurm's list of hosts {text!r} cannot be read; expected names like node[01-03,7],gpu-a")
    for number in range(int(first), int(last) + 1):
        yield f"{number:0{len(first)}d}"
