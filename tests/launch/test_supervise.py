"""Processes of one host: what a failure says, what begins again, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tunesmith.launch.failure import ProcessFailed
from tunesmith.launch.plan import Start
from tunesmith.launch.supervise import launch

PLAYER = (sys.executable, "-m", "tests.launch.player")


def _play(*parts: str, logs: Path, restarts: int = 0) -> None:
    plan = Start(len(parts), "a test", None, None, restarts)
    launch(plan, (*PLAYER, *parts), logs=logs)


def _signal_soon(number: signal.Signals, *, at: list[float]) -> None:
    for seconds in at:
        threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_all_done_is_silent_and_the_second_prints_to_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _play("done", "done", logs=tmp_path)
    assert capfd.readouterr().err == "rank 0 of 2 in attempt 0\n"
    assert (tmp_path / "attempt-0" / "rank-1.log").read_text() == "rank 1 of 2 in attempt 0\n"
    assert not (tmp_path / "attempt-0" / "rank-0.log").exists()


@pytest.mark.parametrize(
    ("parts", "status", "message"),
    [
        (("done:3", "error"), 1, "rank 1 says error\n(in process 1 on HOST; it printed to LOGS/attempt-0/rank-1.log)"),
        (("usage", "usage:0.3"), 2, "rank 0 says usage"),
        (
            ("lost", "error:0.3"),
            1,
            "rank 1 says error\n(in process 1 on HOST; it printed to LOGS/attempt-0/rank-1.log)",
        ),
        (
            ("lost:0.2", "kill"),
            1,
            "process 1 on HOST was killed by SIGKILL (often: the host ran out of memory); it printed to "
            "LOGS/attempt-0/rank-1.log, at last:\n  rank 1 of 2 in attempt 0",
        ),
        (("crash", "sleep"), 1, "process 0 on HOST ended with status 7 and said nothing"),
    ],
)
def test_the_first_failure_is_the_message_and_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], status: int, message: str
) -> None:
    monkeypatch.setattr("tunesmith.launch.supervise._KILLED_S", 0.5)
    monkeypatch.setattr("tunesmith.launch.supervise._TOLD_S", 0.5)
    with pytest.raises(ProcessFailed) as raised:
        _play(*parts, logs=tmp_path)
    assert raised.value.exit_status == status
    host = os.uname().nodename
    assert str(raised.value).replace(str(tmp_path), "LOGS").replace(host, "HOST") == message


def test_a_killed_process_begins_all_again_and_a_message_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.launch.supervise._KILLED_S", 0.3)
    monkeypatch.setenv("PLAYER_FOLDER", str(tmp_path))
    _play("lost:0.2/done", "kill/done", logs=tmp_path / "logs", restarts=1)
    assert {file.name for file in tmp_path.iterdir()} == {"logs", "0-0", "0-1", "1-0", "1-1"}
    assert (tmp_path / "logs" / "attempt-1" / "rank-1.log").read_text() == "rank 1 of 2 in attempt 1\n"
    with pytest.raises(ProcessFailed, match=r"SIGKILL(.|\n)*had been started again 1 times"):
        _play("sleep", "kill", logs=tmp_path / "logs", restarts=1)
    with pytest.raises(ProcessFailed, match="rank 0 says error"):
        _play("error", logs=tmp_path / "logs", restarts=5)


def test_a_process_may_ask_to_begin_again_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _play("again/again/done", logs=tmp_path / "some")
    assert len(list((tmp_path / "some").glob("attempt-*"))) == 3
    monkeypatch.setattr("tunesmith.launch.gathering.MOST_ASKED", 2)
    with pytest.raises(ProcessFailed, match="that is enough") as raised:
        _play("again", logs=tmp_path / "many")
    assert raised.value.exit_status == 1
    assert len(list((tmp_path / "many").glob("attempt-*"))) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_all_save(tmp_path: Path, number: signal.Signals) -> None:
    _signal_soon(number, at=[1.0])
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _play("saving:1.5", "saving:0", logs=tmp_path, restarts=3)
    assert 2.4 < time.monotonic() - begin < 10
    assert len(list(tmp_path.glob("attempt-*"))) == 1


def test_a_second_signal_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.launch.supervise._URGENT_S", 0.5)
    monkeypatch.setenv("PLAYER_FOLDER", str(tmp_path))
    _signal_soon(signal.SIGTERM, at=[1.0, 1.3])
    with pytest.raises(KeyboardInterrupt):
        _play("deaf", "saving:30", logs=tmp_path / "logs")
    assert not any(_is_running(int((tmp_path / name).read_text())) for name in ("0-0", "0-1"))


def test_nobody_survives_a_killed_launcher_or_a_killed_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.launch.supervise._TOLD_S", 0.3)
    program = (
        "from pathlib import Path\nfrom tunesmith.launch.plan import Start\n"
        "from tunesmith.launch.supervise import launch\n"
        f"launch(Start(2, '', None, None, 0), {(*PLAYER, 'deaf', 'sleep')!r}, logs=Path({str(tmp_path / 'logs')!r}))"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PLAYER_FOLDER": str(tmp_path)})
    pids = _wait_for_pids(tmp_path, 2)
    launcher.kill()
    launcher.wait()
    _wait_until_gone(pids)
    with pytest.raises(ProcessFailed):
        _play("error:0.5", "parent", logs=tmp_path / "logs")
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "# grandchild" not in running


def _wait_for_pids(folder: Path, count: int) -> list[int]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        texts = [file.read_text() for file in folder.iterdir() if file.is_file()]
        if len(texts) == count and all(texts):
            return [int(text) for text in texts]
        time.sleep(0.05)
    raise AssertionError("the processes did not start")


def _wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while any(map(_is_running, pids)):
        assert time.monotonic() < end, "processes without a launcher"
        time.sleep(0.05)
