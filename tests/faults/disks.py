"""Disks that are full: a small file system of its own, or, where none may be mounted, a limit on a file's size."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.failures import fail
from tests.faults.kills import NeverHurt, go_through
from tests.faults.sameness import broken_checkpoints, differences, leftovers, size_bytes
from tests.faults.verdict import Impossible, Result

_CLONE_NEWNS = 0x20000
_ROOM_BYTES = 1 << 30
_SAYS = "cannot be written"


def fill_disk(whole: NeverHurt, share: float, folder: Path) -> Result:
    """Run on a disk with room for `share` of what the run writes, then make room and go on."""
    command = replace(whole.command, folder=folder / "run")
    with _small_disk(command.folder, int(size_bytes(whole.command.folder) * share)) as disk:
        fail(command, says=_SAYS)
        problems = [*broken_checkpoints(command.folder), *leftovers(command.folder)]
        disk.grow(_ROOM_BYTES)
        go_through(command, goes_on=True)
        return Result(1, (*problems, *differences(whole.command.folder, command.folder)))


def limit_files(whole: NeverHurt, num_bytes: int, folder: Path) -> Result:
    """Run where no file may be longer than `num_bytes`, as a quota does; then without that limit."""

    @contextlib.contextmanager
    def around(rank: int) -> Iterator[None]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
        yield

    command = replace(whole.command, folder=folder / "run")
    fail(command, says=_SAYS, around=around)
    problems = [*broken_checkpoints(command.folder), *leftovers(command.folder)]
    go_through(command, goes_on=True)
    return Result(1, (*problems, *differences(whole.command.folder, command.folder)))


@dataclass(frozen=True, slots=True)
class _Disk:
    folder: Path

    def grow(self, num_bytes: int) -> None:
        """Make it that large."""
        _mount(f"remount,size={num_bytes}", self.folder)


@contextlib.contextmanager
def _small_disk(folder: Path, num_bytes: int) -> Iterator[_Disk]:
    """A file system that only this process and its children see. Raises Impossible where that may not be done."""
    folder.mkdir(parents=True)
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise Impossible(f"no file system may be mounted here: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    _mount(f"size={num_bytes}", folder)
    try:
        yield _Disk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mount(options: str, folder: Path) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Impossible(f"no file system may be mounted here: {done.stderr.strip()}")
