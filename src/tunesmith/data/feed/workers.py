"""A function answered elsewhere: by this thread when asked, or by processes that work ahead.

    submit(request) → ticket,  result(ticket) → answer, in any order

A worker process that dies ends the wait with a RunError that says what to do. Knows nothing of rows and batches.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch

from tunesmith import env
from tunesmith.data.feed import wire
from tunesmith.errors import RunError, TunesmithError

Answer = Callable[[Any], Any]

_GRACE_S = 1.0
"""What a worker may take to finish its task when the work is called off, before it is killed."""
_POLL_S = 0.1


@dataclass(slots=True)
class Ticket:
    """Stands for an answer that may not be there yet."""

    request: Any = None
    answer: Any = None
    error: TunesmithError | None = None
    is_done: bool = False


class CalledOff(Exception):  # noqa: N818  not an error: the one who waits was asked to stop
    """The work was called off while somebody waited for an answer."""


class Workers(Protocol):
    """Who answers requests. Not for several threads at once, but for `call_off`."""

    @property
    def count(self) -> int:
        """How many requests are worked on at the same time beside the caller, 0 for none."""

    def submit(self, request: Any) -> Ticket:
        """Have `request` answered."""

    def result(self, ticket: Ticket) -> Any:
        """The answer. Raises the TunesmithError that came of it, RunError for a dead worker, CalledOff."""

    def call_off(self) -> None:
        """From any thread: end the waiting of whoever waits."""

    def close(self) -> None:
        """End the workers."""


class NoWorkers:
    """Answers in the calling thread, as soon as a request is submitted."""

    count = 0

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._is_called_off = False

    def submit(self, request: Any) -> Ticket:
        """See Workers."""
        if self._is_called_off:
            raise CalledOff
        is_good, content = _try(self._answer, request)
        return Ticket(answer=content, is_done=True) if is_good else Ticket(error=content, is_done=True)

    def result(self, ticket: Ticket) -> Any:
        """See Workers."""
        return _unwrap(ticket)

    def call_off(self) -> None:
        """See Workers."""
        self._is_called_off = True

    def close(self) -> None:
        """Nothing to end."""


class WorkerProcesses:
    """`count` processes, each with one request at a time; the others wait here. Forked where the system can."""

    def __init__(self, answer: Answer, *, count: int) -> None:
        self.count = count
        self._waiting: deque[Ticket] = deque()
        self._working: dict[socket.socket, Ticket] = {}
        self._is_called_off = False
        env.keep_tokenizers_single_threaded()
        self._processes: dict[socket.socket, BaseProcess] = {}
        for _ in range(count):
            self._start(answer)
        self._idle = list(self._processes)
        self._connections = {connection.fileno(): connection for connection in self._processes}
        self._selector = selectors.DefaultSelector()
        for connection in self._processes:
            self._selector.register(connection, selectors.EVENT_READ)
        # also at the interpreter's exit, before multiprocessing waits for its children
        self._end = weakref.finalize(self, _end, dict(self._processes), self._selector)

    def submit(self, request: Any) -> Ticket:
        """See Workers. Raises RunError for a dead worker."""
        ticket = Ticket(request)
        self._waiting.append(ticket)
        self._hand_out()
        return ticket

    def result(self, ticket: Ticket) -> Any:
        """See Workers."""
        while not ticket.is_done:
            if self._is_called_off:
                raise CalledOff
            for key, _ in self._selector.select(_POLL_S):
                self._take_in(self._connections[key.fd])
            self._hand_out()
        return _unwrap(ticket)

    def call_off(self) -> None:
        """See Workers."""
        self._is_called_off = True

    def close(self) -> None:
        """See Workers. A worker has a second to finish its task, and is killed then."""
        self._end()

    def _start(self, answer: Answer) -> None:
        ours, theirs = socket.socketpair()
        name = f"data worker {len(self._processes) + 1}"
        process: BaseProcess
        if sys.platform == "linux":
            inherited = (*self._processes, ours)
            process = get_context("fork").Process(target=_serve, args=(theirs, answer, inherited), name=name)
        else:
            process = get_context("spawn").Process(target=_serve, args=(theirs, answer, ()), name=name)
        with _collecting_nothing():
            process.start()
        theirs.close()
        self._processes[ours] = process

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            connection, ticket = self._idle.pop(), self._waiting.popleft()
            try:
                wire.send(connection, ticket.request)
            except OSError:
                raise self._death(connection) from None
            ticket.request = None
            self._working[connection] = ticket

    def _take_in(self, connection: socket.socket) -> None:
        try:
            is_good, content = wire.receive(connection)
        except (EOFError, OSError):
            raise self._death(connection) from None
        ticket = self._working.pop(connection)
        if is_good:
            ticket.answer = content
        else:
            ticket.error = content
        ticket.is_done = True
        self._idle.append(connection)

    def _death(self, connection: socket.socket) -> RunError:
        process = self._processes[connection]
        process.join(_GRACE_S)
        return RunError(f"{process.name} (process {process.pid}) {_describe_end(process.exitcode)}")


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Garbage waits, so that a forked child comes to gc.freeze before its first collection."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def num_usable_cores() -> int:
    """Cores this process may run on; more workers than that only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _try(answer: Answer, request: Any) -> tuple[bool, Any]:
    try:
        return True, answer(request)
    except TunesmithError as error:
        return False, error


def _unwrap(ticket: Ticket) -> Any:
    if ticket.error is not None:
        raise ticket.error
    answer, ticket.answer = ticket.answer, None
    return answer


def _serve(connection: socket.socket, answer: Answer, inherited: Sequence[socket.socket]) -> None:
    """A worker's life: request, answer, until the other end is closed, by `close` or by the death of its process."""
    gc.freeze()  # garbage of the parent is never freed here: libraries would wait for threads that a fork leaves behind
    gc.enable()
    for other in inherited:  # a copy kept here would hide that death from the other workers
        other.close()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the training process saves, then closes
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    sys.stderr = sys.__stderr__  # a progress bar's stand-in may be locked by the thread that draws it, left behind
    while True:
        try:
            wire.send(connection, _try(answer, wire.receive(connection)))
        except (EOFError, ConnectionError):
            return


def _end(processes: dict[socket.socket, BaseProcess], selector: selectors.BaseSelector) -> None:
    selector.close()
    for connection in processes:
        connection.close()
    deadline = time.monotonic() + _GRACE_S
    for process in processes.values():
        process.join(max(deadline - time.monotonic(), 0))
        if process.exitcode is None:
            process.kill()
            process.join()
        process.close()


def _describe_end(exitcode: int | None) -> str:
    if exitcode is not None and exitcode >= 0:
        return f"ended with status {exitcode}; what it wrote stands above. dataloader_num_workers: 0 shows it plainly"
    what = "stopped answering" if exitcode is None else f"was killed by {signal.Signals(-exitcode).name}"
    return f"{what}, as happens when memory runs out; lower dataloader_num_workers or dataloader_prefetch_factor"
