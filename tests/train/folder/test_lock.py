"""One run at a time in a run folder, also where the disk is another host's and does not lock."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tunesmith.errors import RunError
from tunesmith.train.folder.heartbeat import beating
from tunesmith.train.folder.lock import only_process_in, refuse_busy
from tunesmith.train.folder.mounts import kind_of_mount
from tunesmith.train.folder.process import Process, this_process

HOLDER = """
import sys
from pathlib import Path
from tunesmith.train.folder.lock import only_process_in
with only_process_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
SILENT_S = 0.6
MOUNTS = r"""
22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
31 22 0:44 / /data/of\040all rw shared:9 master:2 - nfs4 server:/all rw,vers=4.2
40 22 0:50 / /data/here rw - tmpfs tmpfs rw
41 22 0:51 / /data/here rw - xfs /dev/vdb rw
"""


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `folder`."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def enter(folder: Path) -> None:
    """Hold `folder` for a moment."""
    with only_process_in(folder, silent_s=SILENT_S):
        pass


def on_another_host(folder: Path) -> Process:
    """Leave what a process on another host leaves; a number of this host's own, which must not be looked up."""
    folder.mkdir()
    other = replace(this_process(), host="gpu-7")
    (folder / ".holder").write_text(json.dumps(asdict(other)))
    (folder / ".lock").touch()
    return other


@pytest.mark.parametrize("attempt", [refuse_busy, enter])
def test_a_held_folder_is_refused_until_its_process_is_killed(tmp_path: Path, attempt: Callable[[Path], None]) -> None:
    folder = tmp_path / "run"
    refuse_busy(folder)  # nobody was ever there
    with holding(folder) as holder:
        refusal = rf"another process \({holder.pid} on .*\) trains in .*run; .*runs stop"
        with pytest.raises(RunError, match=refusal):
            attempt(folder)
    attempt(folder)


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with only_process_in(tmp_path / "run"):
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".holder", ".lock"]
    assert list((tmp_path / "run").iterdir()) == []


def test_where_the_disk_does_not_lock_a_living_process_of_this_host_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with holding(folder) as holder:
        (folder / ".lock").unlink()  # as if there had never been a lock
        with pytest.raises(RunError, match=rf"another process \({holder.pid} on "):
            enter(folder)
    enter(folder)


def test_a_process_of_another_host_is_refused_as_long_as_it_gives_signs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    other = on_another_host(folder)
    with (
        beating((folder / ".holder").touch, every_s=0.05),
        pytest.raises(
            RunError,
            match=rf"another process \({other.pid} on gpu-7, last sign 0 s ago\) .*on gpu-7: tunesmith runs stop",
        ),
    ):
        enter(folder)
    assert (folder / ".holder").exists()


def test_a_process_of_another_host_that_is_silent_for_long_enough_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    on_another_host(folder)
    started = time.monotonic()
    enter(folder)
    assert time.monotonic() - started > SILENT_S * 0.8
    assert list(folder.iterdir()) == []


def test_ranks_other_than_the_first_neither_hold_nor_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holding(tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        refuse_busy(tmp_path / "run")
        enter(tmp_path / "run")
        assert (tmp_path / "run" / ".holder").exists()


def test_of_many_that_begin_together_one_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    several = [subprocess.Popen(command, **pipes, text=True) for _ in range(4)]
    said = [""] * len(several)

    def listen(number: int) -> None:
        said[number] = several[number].stdout.readline()

    listeners = [threading.Thread(target=listen, args=(number,)) for number in range(len(several))]
    for listener in listeners:
        listener.start()
    deadline = time.monotonic() + 30
    while sum(process.poll() is not None for process in several) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in several:
        process.kill()
        process.communicate()
    for listener in listeners:
        listener.join()
    assert sorted(said) == ["", "", "", "held\n"]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/home/me/run", "ext4"), ("/data/of all/run", "nfs4"), ("/data/here/run", "xfs"), ("/data/of", "ext4")],
)
def test_the_kind_of_file_system_is_that_of_the_last_mount_around_a_folder(folder: str, kind: str) -> None:
    assert kind_of_mount(MOUNTS, Path(folder)) == kind
