"""A process as others can know it: on which host, under which number, and since when.

A number alone says nothing: it is given to another process later, and means nothing on another host, in another
container, or after the host was started again. Knows nothing of runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_GONE = frozenset({"Z", "X"})
"""States of /proc/PID/stat of a process that has ended and that nobody has asked about."""
_STATE, _START = 0, 19
"""Fields of /proc/PID/stat after the name, which may hold blanks: the third and the twenty-second (proc(5))."""


@dataclass(frozen=True, slots=True)
class Process:
    """host:  its host's name, for people
    place: boot and space of process numbers in which `pid` means this process
    began: when it was started, in the system's own words
    """

    host: str
    place: str
    pid: int
    began: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether its number means the same in this process."""
        return self.host == socket.gethostname() and self.place == _place()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; only to be asked where it is here."""
        return bool(self.began) and _start_of(self.pid) == self.began


def this_process() -> Process:
    """The process that calls."""
    return process_here(os.getpid())


def process_here(pid: int) -> Process:
    """The process of this number on this host; it is not alive if there is none."""
    return Process(socket.gethostname(), _place(), pid, _start_of(pid))


def process_from_json(kept: Mapping[str, Any]) -> Process:
    """What `dataclasses.asdict` of a process gave. Raises KeyError, TypeError or ValueError for anything else."""
    return Process(str(kept["host"]), str(kept["place"]), int(kept["pid"]), str(kept["began"]))


def descendants(pid: int) -> list[int]:
    """Numbers of the processes that `pid` started, and those they started, parents before children."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        started = children.get(waiting.pop(0), [])
        found += started
        waiting += started
    return found


@cache
def _place() -> str:
    """Another boot or another container has another one; elsewhere than on Linux there is the host alone."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """When the process was started: clock ticks since the boot, elsewhere a date. Empty if it has ended."""
    if not _PROC.is_dir():
        return _ask_ps("-o", "lstart=", "-p", str(pid)).strip()
    fields = _stat(pid)
    return "" if fields is None or fields[_STATE] in _GONE else fields[_START]


def _parents() -> list[tuple[int, int]]:
    """(process, its parent) of all that can be seen."""
    if not _PROC.is_dir():
        pairs = (line.split() for line in _ask_ps("-A", "-o", "pid=,ppid=").splitlines())
        return [(int(pid), int(parent)) for pid, parent in pairs]
    numbers = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return [(pid, int(fields[1])) for pid in numbers if (fields := _stat(pid)) is not None]


def _stat(pid: int) -> list[str] | None:
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _ask_ps(*arguments: str) -> str:
    return subprocess.run(("ps", *arguments), capture_output=True, text=True, check=False).stdout
