"""Requests are answered by this thread or by processes, which end with their work, however it ends."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path
from threading import Timer

import pytest
import torch

from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.feed.workers import CalledOff, NoWorkers, WorkerProcesses, Workers
from tunesmith.data.problem import RowError
from tunesmith.errors import DataError, RunError


def square(number: int) -> tuple[int, int]:
    """The square, and the process that worked it out."""
    if number < 0:
        raise RowError("too small", f"{number} is below 0")
    return number * number, os.getpid()


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def big(size: int) -> torch.Tensor:
    return torch.ones(size)


@pytest.mark.parametrize("build", [NoWorkers, lambda answer: WorkerProcesses(answer, count=2)])
def test_answers_come_to_whoever_asked(build: Callable[..., Workers]) -> None:
    with closing(build(square)) as workers:
        tickets = [workers.submit(number) for number in range(20)]
        answers = [workers.result(ticket) for ticket in reversed(tickets)]
    assert [answer for answer, _ in answers] == [number * number for number in reversed(range(20))]


@pytest.mark.parametrize("build", [NoWorkers, lambda answer: WorkerProcesses(answer, count=1)])
def test_an_error_is_raised_where_the_answer_is_read(build: Callable[..., Workers]) -> None:
    with closing(build(square)) as workers:
        bad, good = workers.submit(-1), workers.submit(3)
        assert workers.result(good)[0] == 9
        with pytest.raises(RowError, match="too small: -1 is below 0") as raised:
            workers.result(bad)
        assert raised.value.kind == "too small" and isinstance(raised.value, DataError)


@pytest.mark.parametrize("error", [RowError("kind", "detail"), RowTooLongError("4 tokens, cutoff_len is 3")])
def test_errors_of_rows_come_through_whole(error: RowError) -> None:
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), str(restored)) == (type(error), str(error))
    assert (restored.kind, restored.detail) == (error.kind, error.detail)


def test_processes_do_the_work_and_end_with_it() -> None:
    workers = WorkerProcesses(square, count=2)
    processes = {workers.result(workers.submit(number))[1] for number in range(10)}
    assert os.getpid() not in processes
    assert len(active_children()) == 2
    workers.close()
    assert active_children() == []


def test_large_requests_and_answers_do_not_block_each_other() -> None:
    with closing(WorkerProcesses(torch.neg, count=2)) as workers:
        tickets = [workers.submit(torch.full((1_000_000,), float(number))) for number in range(12)]
        assert [int(workers.result(ticket)[-1]) for ticket in tickets] == [-number for number in range(12)]


@pytest.mark.parametrize("while_busy", [False, True])
def test_a_killed_worker_is_named_with_the_cure(while_busy: bool) -> None:
    with closing(WorkerProcesses(sleep, count=2)) as workers:
        workers.result(workers.submit(0.0))
        victims = active_children()
        ticket = workers.submit(30.0) if while_busy else None
        for victim in victims:
            os.kill(victim.pid or 0, signal.SIGKILL)
        with pytest.raises(RunError, match=r"data worker \d \(process \d+\) was killed by SIGKILL") as raised:
            workers.result(ticket or workers.submit(30.0))
        assert "lower dataloader_num_workers" in str(raised.value)
    assert active_children() == []


def test_a_worker_killed_while_it_sends_is_noticed() -> None:
    """The first bytes of its answer have arrived, the rest never will."""
    with closing(WorkerProcesses(big, count=1)) as workers:
        ticket = workers.submit(50_000_000)
        time.sleep(1.0)  # it fills the socket and waits for this process to read
        (victim,) = active_children()
        os.kill(victim.pid or 0, signal.SIGKILL)
        with pytest.raises(RunError, match="was killed by SIGKILL"):
            workers.result(ticket)


def test_a_crash_names_the_status_and_how_to_see_it(capfd: pytest.CaptureFixture[str]) -> None:
    message = r"ended with status 1; .*dataloader_num_workers: 0 shows it plainly"
    with closing(WorkerProcesses(len, count=1)) as workers, pytest.raises(RunError, match=message):
        workers.result(workers.submit(5))
    assert "object of type 'int' has no len()" in capfd.readouterr().err


def test_busy_workers_do_not_hold_up_the_end() -> None:
    workers = WorkerProcesses(sleep, count=2)
    for _ in range(5):
        workers.submit(60.0)
    started = time.monotonic()
    workers.close()
    assert active_children() == []
    assert time.monotonic() - started < 30


def test_who_waits_can_be_called_off() -> None:
    with closing(WorkerProcesses(sleep, count=1)) as workers:
        ticket = workers.submit(60.0)
        Timer(0.2, workers.call_off).start()
        with pytest.raises(CalledOff):
            workers.result(ticket)


def test_workers_leave_ctrl_c_to_the_training_process() -> None:
    with closing(WorkerProcesses(square, count=1)) as workers:
        _, process = workers.result(workers.submit(1))
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
        assert workers.result(workers.submit(2)) == (4, process)


def test_workers_do_not_outlive_a_killed_process() -> None:
    program = (
        "import os, time\n"
        "from tunesmith.data.feed.workers import WorkerProcesses\n"
        "workers = WorkerProcesses(lambda _: os.getpid(), count=2)\n"
        "tickets = [workers.submit(number) for number in range(50)]\n"
        "print(*{workers.result(ticket) for ticket in tickets}, flush=True)\n"
        "time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    workers = [int(word) for word in run.stdout.readline().split()]
    assert workers
    run.kill()
    run.wait()
    deadline = time.monotonic() + 30
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def test_workers_left_open_end_with_the_program() -> None:
    program = (
        "from tunesmith.data.feed.workers import WorkerProcesses\n"
        "workers = WorkerProcesses(abs, count=2)\n"
        "print(workers.result(workers.submit(-7)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("7\n", "")


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, and not yet fetched by whoever adopted it


class _Trap:
    """Garbage in a cycle, as a decoder's frames may be, that must not be freed by a worker."""

    def __init__(self, owner: int) -> None:
        self.itself = self
        self._owner = owner

    def __del__(self) -> None:
        if os.getpid() != self._owner:
            os._exit(3)


def _collect(request: int) -> int:
    gc.collect()
    return request + 1


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_worker_never_frees_the_garbage_of_its_parent() -> None:
    gc.disable()
    try:
        _Trap(os.getpid())
        with closing(WorkerProcesses(_collect, count=1)) as workers:
            assert workers.result(workers.submit(1)) == 2
    finally:
        gc.enable()
