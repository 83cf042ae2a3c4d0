"""Two launchers on one machine, as on two hosts: they meet, fail, begin again and stop together."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.launch.gathering import find_free_port

HostEnd = tuple[int, str]
_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _nobody_is_left_waiting() -> Iterator[None]:
    yield
    while _started:
        _started.pop().kill()


def _start_hosts(logs: Path, *specs: dict[str, Any]) -> list[subprocess.Popen[str]]:
    port = find_free_port()
    hosts = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.launch.hosts", json.dumps({"port": port, "logs": str(logs), **spec})],
            stderr=subprocess.PIPE,
            text=True,
        )
        for spec in specs
    ]
    _started.extend(hosts)
    return hosts


def _wait(hosts: list[subprocess.Popen[str]]) -> list[HostEnd]:
    texts = [host.communicate(timeout=90)[1] for host in hosts]
    return [(host.returncode, text) for host, text in zip(hosts, texts, strict=True)]


def _wait_for(file: Path, text: str) -> None:
    end = time.monotonic() + 60
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < end, f"{file} does not say {text}"
        time.sleep(0.05)


def test_hosts_number_their_processes_and_begin_again_together(tmp_path: Path) -> None:
    parts = ["lost/done", "lost/done", "kill:0.3/done"]
    first = {"host_rank": 0, "size": 2, "restarts": 1, "parts": parts}
    ends = _wait(_start_hosts(tmp_path, first, {"host_rank": 1, "restarts": 1, "parts": parts}))
    assert [status for status, _ in ends] == [0, 0]
    assert (tmp_path / "attempt-1" / "rank-2.log").read_text() == "rank 2 of 3 in attempt 1\n"
    for _, text in ends:
        assert "was killed by SIGKILL" in text
        assert "All processes start again from the last checkpoint (1 of at most 1)" in text
    assert "rank 0 of 3 in attempt 1" in ends[0][1]


def test_a_failure_on_one_host_is_the_message_and_status_of_both(tmp_path: Path) -> None:
    parts = ["lost:0.2", "usage"]
    ends = _wait(_start_hosts(tmp_path, *({"host_rank": rank, "restarts": 3, "parts": parts} for rank in (0, 1))))
    assert [status for status, _ in ends] == [2, 2]
    for _, text in ends:
        assert text.count("error:") == 1
        assert "error: rank 1 says usage\n(in process 1 on " in text


def test_a_signal_to_one_host_stops_both_after_saving(tmp_path: Path) -> None:
    parts = ["saving:0.2", "saving:0.2"]
    hosts = _start_hosts(tmp_path, *({"host_rank": rank, "parts": parts} for rank in (0, 1)))
    _wait_for(tmp_path / "attempt-0" / "rank-1.log", "rank 1 of 2")
    time.sleep(0.5)  # until it listens
    hosts[1].send_signal(signal.SIGTERM)
    ends = _wait(hosts)
    assert [status for status, _ in ends] == [130, 130]


@pytest.mark.slow
def test_a_launcher_that_was_started_again_is_waited_for(tmp_path: Path) -> None:
    parts = ["lost:2/done", "sleep/done"]
    port = find_free_port()
    specs = [{"port": port, "host_rank": rank, "restarts": 2, "parts": parts} for rank in (0, 1)]
    first, second = _start_hosts(tmp_path, *specs)
    _wait_for(tmp_path / "attempt-0" / "rank-1.log", "rank 1 of 2")
    second.kill()
    (third,) = _start_hosts(tmp_path, specs[1])
    assert [status for status, _ in _wait([first, third])] == [0, 0]
    assert (tmp_path / "attempt-1" / "rank-1.log").read_text() == "rank 1 of 2 in attempt 1\n"


@pytest.mark.slow
def test_hosts_that_number_themselves_go_on_without_one_that_is_gone(tmp_path: Path) -> None:
    parts = ["lost:3/done", "lost:3"]
    spec = {"backend": "c10d", "least": 1, "restarts": 2, "parts": parts}
    hosts = _start_hosts(tmp_path, {**spec, "host_rank": 0}, {**spec, "host_rank": 1})
    _wait_for(tmp_path / "attempt-0" / "rank-1.log", "rank 1 of 2")
    hosts[1].kill()
    status, text = _wait(hosts)[0]
    assert status == 0
    assert "attempt 1" in text
