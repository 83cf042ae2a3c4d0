"""The processes of a run on this host: started, watched, stopped, and started again from the last checkpoint.

torchrun would do this with a table of tracebacks, a status of its own and one rule for every end. Here a failure is one
message and the status of the process that failed first; what may begin again depends on how it ended; and a process
that was asked to stop has the time it needs to save.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import log
from tunesmith.errors import UsageError
from tunesmith.launch.again import mark_beginning
from tunesmith.launch.children import Child, start_child
from tunesmith.launch.failure import AGAIN, INTERRUPTED, Failure, ProcessFailed, describe, find_cause
from tunesmith.launch.gathering import MOST_ASKED, Alone, Gathering, Place, Record, Verdict
from tunesmith.launch.plan import Start
from tunesmith.launch.stopping import StopSignals
from tunesmith.launch.variables import name_process, tune_process

_POLL_S = 0.05
_TOLD_S, _KILLED_S, _URGENT_S = 6.0, 2.0, 3.0
"""What the others may take to end by themselves after one that said why it failed, one that was killed, and a second
request to stop."""
_OTHERS_S = 9.0
"""How long a host that was only left alone waits for the one that knows why."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What the processes of this host are. `logs`: the folder for what they print, but for the run's first."""

    command: Sequence[str]
    size: int
    reason: str
    logs: Path
    restarts: int


def launch(plan: Start, command: Sequence[str], *, logs: Path, attempt: int = 0) -> None:
    """Start processes that run `command` as planned and see them through; `logs` is a folder for what they print.

    Raises ProcessFailed with the message and status of the process that failed first, KeyboardInterrupt once all have
    stopped after a signal, RunError where hosts do not find each other.
    """
    crew = Crew(command, plan.processes, plan.reason, logs, plan.restarts)
    stop = StopSignals()
    with stop.listening():
        hosts = _gather(plan, stop)
        try:
            _run_attempts(crew, hosts, stop, Record(attempt))
        finally:
            hosts.leave()


def _gather(plan: Start, stop: StopSignals) -> Gathering:
    if plan.meeting is None:
        return Alone(plan.processes, port=plan.port)
    from tunesmith.launch.together import Together  # torch comes with it

    return Together(plan.meeting, plan.processes, stop)


def _run_attempts(crew: Crew, hosts: Gathering, stop: StopSignals, record: Record) -> None:
    while True:
        place = hosts.join(record)
        log.info(_describe_start(crew, place))
        verdict = run_attempt(crew, place, hosts, stop)
        if verdict is None:
            return
        failure = verdict.failure
        if stop.requested or (failure is not None and failure.exit_status == INTERRUPTED):
            raise KeyboardInterrupt
        if not verdict.again:
            assert failure is not None
            raise ProcessFailed(_describe_last(failure, place.record), exit_status=failure.exit_status)
        log.warning(_describe_again(failure, place.record, crew.restarts))
        record = place.record.after(failure)


def run_attempt(crew: Crew, place: Place, hosts: Gathering, stop: StopSignals) -> Verdict | None:
    """Start the processes and wait for their end; None where all hosts got done. None of them is left behind."""
    children: list[Child] = []
    _open_logs(crew.logs, place)
    try:
        for local_rank in range(crew.size):
            children.append(_start(crew, place, local_rank))
        watch = _Watch(children, hosts, stop)
        while not watch.is_over():
            time.sleep(_POLL_S)
    finally:
        spared = [child for child in children if child.look()]
        for child in children:
            child.kill()
    if watch.elsewhere is not None:
        return watch.elsewhere
    failures = [failure for child in spared if (failure := _failure(child, stop)) is not None]
    if not failures and len(spared) == len(children):
        return hosts.finish()
    return _settle(crew, place, hosts, stop, failures)


def _start(crew: Crew, place: Place, local_rank: int) -> Child:
    rank = place.first_rank + local_rank
    named = name_process(place, local_rank=local_rank, num_local=crew.size)
    variables = {**named, **tune_process(os.environ, num_local=crew.size)}
    log_file = None if rank == 0 else _folder(crew.logs, place.record) / f"rank-{rank}.log"
    return start_child(crew.command, variables, rank=rank, log=log_file)


def _open_logs(logs: Path, place: Place) -> None:
    """Raises UsageError where nothing can be written."""
    try:
        if place.host_rank == 0 and place.record.attempt == 0:
            mark_beginning(logs)
        _folder(logs, place.record).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"output_dir: {logs} cannot be written ({error.strerror}); choose another output_dir"
        ) from None


def _folder(logs: Path, record: Record) -> Path:
    return logs / f"attempt-{record.attempt}"


class _Watch:
    """Looks at the processes until all have ended, or those that have not are to be ended."""

    def __init__(self, children: Sequence[Child], hosts: Gathering, stop: StopSignals) -> None:
        self.elsewhere: Verdict | None = None
        self._children = children
        self._hosts = hosts
        self._stop = stop
        self._deadline: float | None = None

    def is_over(self) -> bool:
        """Whether there is nothing to wait for any more; called again and again."""
        ended = [child for child in self._children if child.look()]
        if len(ended) == len(self._children):
            return True
        for number in self._stop.take_new():
            self._tell(number)
        if self._stop.urgent:
            self._end_in(_URGENT_S)
        if self.elsewhere is None:
            self._ask_elsewhere()
        for child in ended:
            if child.status not in (0, INTERRUPTED):
                self._end_in(_TOLD_S if child.report else _KILLED_S)
        return self._deadline is not None and time.monotonic() > self._deadline

    def _ask_elsewhere(self) -> None:
        self.elsewhere = self._hosts.announced()
        if self.elsewhere is None:
            return
        failure = self.elsewhere.failure
        if failure is not None and failure.exit_status != INTERRUPTED:
            self._end_in(_TOLD_S)
        elif not self._stop.requested:  # another host is to stop, or hosts want to join: all save
            self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:
            child.tell(number)

    def _end_in(self, seconds: float) -> None:
        """The first reason to hurry counts, unless a later one leaves less time."""
        at = time.monotonic() + seconds
        self._deadline = at if self._deadline is None else min(self._deadline, at)


def _failure(child: Child, stop: StopSignals) -> Failure | None:
    """How it failed; one that a signal of ours met before it listened was interrupted."""
    failure = child.failure(socket.gethostname())
    if failure is None or not stop.requested:
        return failure
    met = failure.status in {-signal.SIGINT, -signal.SIGTERM, AGAIN} or failure.lost
    return Failure(failure.rank, failure.host, INTERRUPTED, failure.at) if met else failure


def _settle(crew: Crew, place: Place, hosts: Gathering, stop: StopSignals, failures: Sequence[Failure]) -> Verdict:
    """Agree with the other hosts on what happened; without a failure, this host was asked to stop twice."""
    if not failures:
        here = Failure(place.first_rank, socket.gethostname(), INTERRUPTED, time.time())
        return hosts.announce(Verdict(here, again=False))
    cause = find_cause(failures)
    patience = time.monotonic() + _OTHERS_S
    while cause.lost and place.num_hosts > 1 and time.monotonic() < patience and not stop.requested:
        if (verdict := hosts.announced()) is not None:
            return verdict
        time.sleep(_POLL_S)
    again = not stop.requested and place.record.allows(cause, restarts=crew.restarts)
    return hosts.announce(Verdict(cause, again))


def _describe_start(crew: Crew, place: Place) -> str:
    text = f"{place.num_processes} {'process' if place.num_processes == 1 else 'processes'}"
    if place.num_hosts > 1:
        text += f" on {place.num_hosts} hosts, {crew.size} of them on this one (host {place.host_rank})"
    if place.num_processes == 1:
        return f"{text} ({crew.reason})"
    return f"{text} ({crew.reason}); all but the first print to {_folder(crew.logs, place.record)}"


def _describe_last(failure: Failure, record: Record) -> str:
    text = describe(failure)
    if failure.status == AGAIN:
        return f"{text}\n(all processes were started again {MOST_ASKED} times for such reasons; that is enough)"
    if record.killed:
        return f"{text}\n(all processes had been started again {record.killed} times, as max_restarts allows)"
    return text


def _describe_again(failure: Failure | None, record: Record, restarts: int) -> str:
    if failure is None:
        return "hosts want to join; all processes start again from the last checkpoint"
    count, most = (record.asked, MOST_ASKED) if failure.status == AGAIN else (record.killed, restarts)
    return f"{describe(failure)}\nAll processes start again from the last checkpoint ({count + 1} of at most {most})"
