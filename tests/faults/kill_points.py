"""Where and how a run is killed, and the killing itself."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from tests.faults.moments import Moment, watch

_LONGEST_DELAY_S = 0.02
_LARGEST_FILE_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class KillPoint:
    """SIGKILL, or another signal, at an event of a run.

    number:     which event of the moment, from 1; 0 is the start of the process
    delay_s:    how long after the event; the run goes on meanwhile, so this may be inside a call of the system's
    file_bytes: killed at the first write past this many bytes of any file after the event, and not by time
    watched:    the rank whose events are counted
    victims:    the ranks that are killed
    """

    moment: Moment
    number: int
    delay_s: float = 0.0
    file_bytes: int | None = None
    watched: int = 0
    victims: tuple[int, ...] = (0,)
    signal: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        how = f"byte {self.file_bytes} of a file" if self.file_bytes is not None else f"{self.delay_s * 1e3:.1f} ms"
        who = f"{self.signal.name} to rank {', '.join(map(str, self.victims))} " if self.victims else ""
        return f"{who}{self.moment}, {how} after event {self.number} of rank {self.watched}"


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of each moment in the run never hurt, for each rank, and how long it took."""

    of_rank: tuple[Mapping[Moment, int], ...]
    seconds: float

    def moments(self) -> list[Moment]:
        """Those that any rank came to."""
        return [moment for moment in Moment if any(counts.get(moment) for counts in self.of_rank)]


def draw(random: Random, counts: Counts, moment: Moment | None) -> KillPoint:
    """A random kill point of a moment, or (None) at a random time of the run."""
    num_ranks = len(counts.of_rank)
    watched = random.choice(
        [rank for rank, events in enumerate(counts.of_rank) if moment is None or events.get(moment)]
    )
    everybody = tuple(range(num_ranks))
    victims = everybody if num_ranks > 1 and random.random() < 0.3 else (watched,)
    if moment is None:
        delay_s = random.uniform(0.0, counts.seconds)
        return KillPoint(Moment.STARTING, 0, delay_s, watched=watched, victims=victims)
    number = random.randint(1, counts.of_rank[watched][moment])
    if moment is Moment.SAVING and victims == (watched,) and random.random() < 0.4:
        size = int(_LARGEST_FILE_BYTES ** random.random())
        return KillPoint(moment, number, file_bytes=size, watched=watched, victims=victims)
    delay_s = random.choice([0.0, random.uniform(0.0, _LONGEST_DELAY_S)])
    return KillPoint(moment, number, delay_s, watched=watched, victims=victims)


def count_events(into: Counter[Moment]) -> None:
    """Count the events of this process from here on."""

    def count(moment: Moment) -> None:
        into[moment] += 1

    watch(count)


def die_at(point: KillPoint, *, rank: int, call: Callable[[], None]) -> None:
    """Arrange the death of this process, the watched one: by its own hand, or by whom `call` calls."""
    if point.number == 0:
        call()
        return
    seen = 0

    def on_event(moment: Moment) -> None:
        nonlocal seen
        if moment is not point.moment:
            return
        seen += 1
        if seen == point.number:
            _strike(point, rank, call)

    watch(on_event, {point.moment})


def _strike(point: KillPoint, rank: int, call: Callable[[], None]) -> None:
    if point.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (point.file_bytes, point.file_bytes))
    elif point.delay_s == 0.0 and point.victims == (rank,):
        os.kill(os.getpid(), point.signal)
    else:
        call()
        if point.delay_s == 0.0 and point.signal == signal.SIGKILL and rank in point.victims:
            time.sleep(60)  # until it is killed with the others
