"""The hosts of a run, as the launcher of each of them sees them; and one that is alone.

Each attempt begins with all hosts joining. The first to announce how it ended decides for all whether it begins again.
"""

from __future__ import annotations

import json
import random
import socket
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from tunesmith.launch.failure import AGAIN, Failure

MOST_ASKED = 8
"""How often processes may ask in a row to be started again (status 75), whatever max_restarts says."""
_PORTS = range(20000, 32000)
"""Below those that Linux gives to outgoing connections: nothing but another server takes one meanwhile."""


@dataclass(frozen=True, slots=True)
class Record:
    """How often the processes were started again so far, and why.

    attempt: number of the attempt, the first is 0
    killed:  because one was killed or left alone
    asked:   because one asked for it
    """

    attempt: int = 0
    killed: int = 0
    asked: int = 0

    def allows(self, failure: Failure, *, restarts: int) -> bool:
        """Whether all may begin again after this. Statuses 1, 2 and 130 would come again."""
        if failure.status == AGAIN:
            return self.asked < MOST_ASKED
        return failure.is_by_fate and self.killed < restarts

    def after(self, failure: Failure | None) -> Record:
        """The record of the next attempt; None stands for hosts that joined."""
        return replace(
            self,
            attempt=self.attempt + 1,
            killed=self.killed + (failure is not None and failure.is_by_fate),
            asked=self.asked + (failure is not None and failure.status == AGAIN),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where this host stands in an attempt.

    first_rank: of its processes
    num_processes: of all hosts
    address, port: where processes meet
    """

    first_rank: int
    num_processes: int
    host_rank: int
    num_hosts: int
    address: str
    port: int
    record: Record


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended. `failure` is None where it ended only because hosts joined."""

    failure: Failure | None
    again: bool

    def to_json(self) -> str:
        """For other hosts."""
        return json.dumps({"failure": asdict(self.failure) if self.failure else None, "again": self.again})


def verdict_from_json(text: str) -> Verdict:
    """What `to_json` gave."""
    kept = json.loads(text)
    return Verdict(Failure(**kept["failure"]) if kept["failure"] else None, kept["again"])


class Gathering(Protocol):
    """All hosts of the run."""

    def join(self, record: Record) -> Place:
        """Wait for the others and take a place in the next attempt. Raises RunError where they do not come."""

    def announced(self) -> Verdict | None:
        """How the attempt ended elsewhere, as soon as that is known. Raises RunError where nobody can be asked."""

    def announce(self, verdict: Verdict) -> Verdict:
        """Say how it ended here; what another host said before counts, and is returned."""

    def finish(self) -> Verdict | None:
        """All is done here: wait for the others. Returns what they announce if they do not get done."""

    def leave(self) -> None:
        """The run is over."""


class Alone:
    """One host: it joins nobody and decides by itself."""

    def __init__(self, num_processes: int, *, port: int | None) -> None:
        self._num_processes = num_processes
        self._port = port

    def join(self, record: Record) -> Place:
        """See Gathering."""
        port = self._port or find_free_port()
        return Place(0, self._num_processes, 0, 1, "127.0.0.1", port, record)

    def announced(self) -> Verdict | None:
        """See Gathering."""
        return None

    def announce(self, verdict: Verdict) -> Verdict:
        """See Gathering."""
        return verdict

    def finish(self) -> Verdict | None:
        """See Gathering."""
        return None

    def leave(self) -> None:
        """See Gathering."""


def find_free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection takes before it is used."""
    for port in random.sample(_PORTS, k=100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("", 0))
        number: int = probe.getsockname()[1]
        return number
