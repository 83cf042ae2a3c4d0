"""How many processes on how many hosts are asked for: by the settings first, then by the environment.

The environment's names are LLaMA-Factory's, XTuner's and torchrun's own (PET_…). Pure functions of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tunesmith import log
from tunesmith.errors import UsageError

if TYPE_CHECKING:
    from tunesmith.config.parallel import ParallelSettings

Environment = Mapping[str, str]
Value = TypeVar("Value")

ENVIRONMENT_NAMES: Mapping[str, tuple[str, ...]] = {
    "nproc": ("NPROC_PER_NODE", "PET_NPROC_PER_NODE"),
    "nnodes": ("NNODES", "PET_NNODES"),
    "node_rank": ("NODE_RANK", "PET_NODE_RANK"),
    "master_addr": ("MASTER_ADDR", "PET_MASTER_ADDR", "ADDR"),
    "master_port": ("MASTER_PORT", "PET_MASTER_PORT", "PORT"),
    "rdzv_id": ("RDZV_ID", "PET_RDZV_ID"),
    "rdzv_backend": ("PET_RDZV_BACKEND",),
    "rdzv_endpoint": ("PET_RDZV_ENDPOINT",),
    "max_restarts": ("MAX_RESTARTS", "PET_MAX_RESTARTS"),
}
"""Setting → variables that stand for it, the first one set counts."""
_OF_SEVERAL_HOSTS = {"ADDR", "PORT"}
"""Names that other programs use too: they count only where several hosts are asked for."""
_EVERY_GPU = {"", "auto", "gpu"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is None is not asked for.

    processes: on this host
    least, most: hosts; the run starts with `least` and takes up to `most`
    """

    processes: int | None
    least: int
    most: int
    host_rank: int | None
    address: str | None
    port: int | None
    job: str | None
    backend: str | None
    endpoint: str | None
    restarts: int | None

    @property
    def several_hosts(self) -> bool:
        """Whether more than this host may take part."""
        return self.most > 1


def read_asked(settings: ParallelSettings, environ: Environment) -> Asked:
    """What is asked for. Raises UsageError for what cannot be understood; says once where settings win."""
    least, most = _read("nnodes", settings.nnodes or _elastic_hosts(environ), environ, _read_hosts) or (1, 1)
    ignored = frozenset() if most > 1 else frozenset(_OF_SEVERAL_HOSTS)
    named = {name: value for name, value in environ.items() if name not in ignored}
    host_rank = _read("node_rank", settings.node_rank, environ, _read_number)
    if host_rank is not None and host_rank >= most:
        raise UsageError(f"node_rank is {host_rank} with nnodes {most}; hosts are numbered from 0 to {most - 1}")
    port = _read("master_port", settings.master_port, named, _read_number)
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"master_port is {port}; expected a number from 1 to 65535")
    return Asked(
        processes=_read("nproc", settings.nproc, environ, _read_processes),
        least=least,
        most=most,
        host_rank=host_rank,
        address=_read("master_addr", settings.master_addr, named, str),
        port=port,
        job=_read("rdzv_id", settings.rdzv_id, environ, str),
        backend=_read("rdzv_backend", settings.rdzv_backend, environ, _read_backend),
        endpoint=_read("rdzv_endpoint", settings.rdzv_endpoint, environ, str),
        restarts=_read("max_restarts", settings.max_restarts, environ, _read_number),
    )


def _read(key: str, setting: object | None, environ: Environment, read: Callable[[str], Value]) -> Value | None:
    """The setting, or the first variable that is set; a variable that says something else is told of."""
    name = next((name for name in ENVIRONMENT_NAMES[key] if environ.get(name, "").strip()), None)
    if setting is None:
        return None if name is None else _understand(read, environ[name].strip(), name)
    value = _understand(read, str(setting), key)
    if name is not None and environ[name].strip() != str(setting):
        log.note_once(f"{key}: {setting} of the settings counts, not {name}={environ[name]} of the environment")
    return value


def _understand(read: Callable[[str], Value], text: str, name: str) -> Value:
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"{name} is {text}; expected {error}") from None


def _elastic_hosts(environ: Environment) -> str | None:
    """LLaMA-Factory's MIN_NNODES and MAX_NNODES, which count together and beside RDZV_ID only."""
    least, most = environ.get("MIN_NNODES", "").strip(), environ.get("MAX_NNODES", "").strip()
    return f"{least}:{most}" if least and most and environ.get("RDZV_ID") else None


def _read_hosts(text: str) -> tuple[int, int]:
    """`2` or `1:4`."""
    least, colon, most = text.partition(":")
    numbers = (least, most if colon else least)
    if not all(number.strip().isdecimal() for number in numbers) or not 0 < int(numbers[0]) <= int(numbers[1]):
        raise ValueError("a number of hosts like 2, or the least and most of them like 1:4")
    return int(numbers[0]), int(numbers[1])


def _read_processes(text: str) -> int | None:
    """`4`, or None for auto: one for every visible GPU."""
    if text.lower() in _EVERY_GPU:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ValueError("a number of processes above 0, or auto")
    return int(text)


def _read_number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("a whole number, 0 or above")
    return int(text)


def _read_backend(text: str) -> str:
    if text not in {"static", "c10d"}:
        raise ValueError("static (hosts are numbered by node_rank) or c10d (they number themselves)")
    return text
