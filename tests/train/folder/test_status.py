"""status.json: written as a run goes on, and however it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.runs.folders import gone
from tunesmith.errors import DataError, RunError
from tunesmith.train.folder.process import this_process
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import Status, StatusReport, answering_for, read_status, reporting, write_status


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@contextmanager
def run(folder: RunFolder, *, every_s: float = 60.0) -> Iterator[StatusReport]:
    with reporting(folder, step=4, total_steps=10, exact=True, every_s=every_s) as report:
        yield report


def read(folder: RunFolder) -> Status:
    status = read_status(folder.status)
    assert status is not None
    return status


def test_a_run_is_running_until_it_is_finished(folder: RunFolder) -> None:
    assert read_status(folder.status) is None
    with run(folder) as report:
        status = read(folder)
        assert (status.state, status.step, status.total_steps) == ("running", 4, 10)
        assert status.process == this_process() and status.process.is_here and status.process.is_alive
        assert status.goes_on and status.exit_status is None and status.launcher is None
        report.step = 10
    status = read(folder)
    assert (status.state, status.step, status.exit_status, status.goes_on) == ("finished", 10, 0, False)


def test_a_sign_of_life_carries_the_step(folder: RunFolder) -> None:
    with run(folder, every_s=0.05) as report:
        report.step = 7
        deadline = time.monotonic() + 10
        while read(folder).step != 7 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (read(folder).state, read(folder).step) == ("running", 7)


@pytest.mark.parametrize(
    ("error", "exit_status", "reason"),
    [
        (RunError("step 6: the loss is nan\nand more"), 1, "step 6: the loss is nan"),
        (DataError("rows.json, row 3: no answer"), 1, "rows.json, row 3: no answer"),
        (IndexError(), 1, "IndexError: no details"),
        (SystemExit(75), 75, "SystemExit: 75"),
    ],
)
def test_a_failure_leaves_its_reason(folder: RunFolder, error: BaseException, exit_status: int, reason: str) -> None:
    with pytest.raises(type(error)), run(folder):
        raise error
    assert (read(folder).state, read(folder).exit_status, read(folder).reason) == ("failed", exit_status, reason)


@pytest.mark.parametrize(("saved_at", "state"), [(6, "stopped"), (4, "interrupted")])
def test_who_was_asked_to_stop_either_saved_or_not(folder: RunFolder, saved_at: int, state: str) -> None:
    folder.checkpoint(saved_at).mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), run(folder) as report:
        report.step = 6
        raise KeyboardInterrupt
    assert (read(folder).state, read(folder).exit_status) == (state, 130)


def test_a_disk_that_takes_no_new_file_still_takes_the_end(folder: RunFolder) -> None:
    with pytest.raises(RunError, match="full"), run(folder):
        (folder.path / ".writing-status.json").mkdir()  # so that no draft can be written
        raise RunError("the disk is full")
    assert (read(folder).state, read(folder).reason) == ("failed", "the disk is full")


def test_what_the_launcher_says_of_itself_is_kept(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_process()
    for name, value in (("TUNESMITH_ATTEMPT", 2), ("TUNESMITH_LAUNCHER", me.pid), ("WORLD_SIZE", 4)):
        monkeypatch.setenv(name, str(value))
    with run(folder):
        status = read(folder)
    assert (status.attempt, status.num_processes, status.launcher, status.signalled) == (2, 4, me, me)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (RunError("process 1 was killed"), ("failed", 1, "process 1 was killed")),
        (KeyboardInterrupt(), ("interrupted", 130, None)),
    ],
)
def test_the_launcher_answers_for_a_first_process_that_was_killed(
    folder: RunFolder, error: BaseException, end: tuple[str, int, str | None]
) -> None:
    now = datetime.now(UTC)
    write_status(folder.status, Status("running", gone(), started=now, updated=now, launcher=this_process()))
    with pytest.raises(type(error)), answering_for(folder.status):
        raise error
    assert (read(folder).state, read(folder).exit_status, read(folder).reason) == end


@pytest.mark.parametrize("changes", [{"launcher": None}, {"launcher": gone()}, {"state": "stopped"}])
def test_a_launcher_changes_no_end_that_was_written_and_no_other_run(
    folder: RunFolder, changes: dict[str, Any]
) -> None:
    now = datetime.now(UTC)
    running = Status("running", gone(), started=now, updated=now, launcher=this_process())
    write_status(folder.status, replace(running, **changes))
    before = folder.status.read_text()
    with pytest.raises(RunError), answering_for(folder.status):
        raise RunError("process 1 was killed")
    assert folder.status.read_text() == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"state": "runn', "Unterminated string"),
        ("[]", "list indices"),
        ('{"state": "asleep"}', "state 'asleep' is not known"),
        ('{"state": "running"}', "'process' is missing"),
        (json.dumps({"state": "running", "process": 17}), "not subscriptable"),
    ],
)
def test_what_is_no_status_is_said_in_one_message(folder: RunFolder, text: str, reason: str) -> None:
    folder.status.write_text(text)
    with pytest.raises(RunError, match=rf"status.json is no status of a run \(.*{reason}"):
        read_status(folder.status)


def test_keys_of_a_later_version_do_no_harm(folder: RunFolder) -> None:
    with run(folder):
        pass
    folder.status.write_text(json.dumps({**json.loads(folder.status.read_text()), "colour": "red"}))
    assert read(folder).state == "finished"
