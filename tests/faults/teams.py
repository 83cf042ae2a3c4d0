"""A run as its processes, each forked from this one: one, or several that find each other over gloo.

They live the life of `tunesmith train`, from the words of the command line to the exit status.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.forks import Fork, fork
from tests.faults.hosts import Hosts
from tunesmith.cli.main import main

_POLL_S = 0.004
Around = Callable[[int], contextlib.AbstractContextManager[None]]
"""What is put around the run in each process, by its rank."""


@dataclass(frozen=True, slots=True)
class Command:
    """`tunesmith train` of a settings file into `folder`, in `num_processes` processes.

    more:  further words of the command line
    hosts: one for each process; None: all on this machine
    """

    settings: Path
    folder: Path
    num_processes: int = 1
    more: tuple[str, ...] = ()
    hosts: Hosts | None = None

    def words(self, *, goes_on: bool) -> list[str]:
        """As a user types them, also after a fault: before the first checkpoint a run can only begin anew."""
        words = ["train", str(self.settings), f"output_dir={self.folder}", *self.more]
        if not goes_on:
            return words
        saved = any(self.folder.glob("checkpoints/step-*"))
        return [*words, "resume_from_checkpoint=true" if saved else "overwrite_output_dir=true"]


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of one attempt, by rank."""

    processes: tuple[Fork, ...]

    def wait(self, timeout_s: float) -> tuple[int, ...]:
        """Their exit statuses. Raises TimeoutError where one of them does not end; all are killed then."""
        deadline = time.monotonic() + timeout_s
        try:
            return tuple(process.wait(max(deadline - time.monotonic(), 0.01)) for process in self.processes)
        finally:
            self.end()

    def ends_within(self, seconds: float) -> bool:
        """Whether all of them end in that time."""
        deadline = time.monotonic() + seconds
        while any(process.poll() is None for process in self.processes):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def kill(self, ranks: tuple[int, ...], number: int = signal.SIGKILL) -> None:
        """Send a signal to some of them."""
        for rank in ranks:
            self.processes[rank].kill(number)

    def end(self) -> None:
        """Kill what still lives of it."""
        for process in self.processes:
            process.end()

    def said(self) -> str:
        """What its processes printed, one after the other."""
        return "\n".join(f"[{rank}] {process.said()}" for rank, process in enumerate(self.processes))


@contextlib.contextmanager
def starting(command: Command, *, goes_on: bool = False, around: Around | None = None) -> Iterator[Team]:
    """The team of a command, which has ended when this is left."""
    words = command.words(goes_on=goes_on)
    port = free_port()

    def live(rank: int) -> int:
        if command.hosts is not None:
            command.hosts.enter(rank)
        with around(rank) if around is not None else contextlib.nullcontext():
            return main(words)

    attempt = f"{time.monotonic_ns()}"
    team = Team(
        tuple(
            fork(
                lambda rank=rank: live(rank),
                log=command.folder.parent / "logs" / f"{command.folder.name}-{attempt}-{rank}.log",
                environment=_environment(command, rank, port),
            )
            for rank in range(command.num_processes)
        )
    )
    try:
        yield team
    finally:
        team.end()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(command: Command, rank: int, port: int) -> Mapping[str, str]:
    """What torchrun would set; one process alone needs nothing."""
    num_processes = command.num_processes
    if num_processes == 1:
        return {}
    one_machine = command.hosts is None
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank if one_machine else 0,
        "WORLD_SIZE": num_processes,
        "LOCAL_WORLD_SIZE": num_processes if one_machine else 1,
        "MASTER_ADDR": "127.0.0.1" if command.hosts is None else command.hosts.address(0),
        "MASTER_PORT": port,
    }
    return {name: str(value) for name, value in variables.items()}
