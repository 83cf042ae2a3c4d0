"""One run at a glance, and the table of many."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.runs.folders import BEGAN, ELSEWHERE, ended, evaluation_line, gone, running, training_line, write_run
from tunesmith.runs.durations import describe_duration
from tunesmith.runs.numbers import read_last_numbers, read_numbers
from tunesmith.runs.overview import look_at
from tunesmith.runs.state import see
from tunesmith.runs.table import render_table
from tunesmith.train.folder.process import this_process
from tunesmith.train.folder.status import Status

LINES = (training_line(10, 2.0), evaluation_line(20, 1.5), training_line(50, 1.25))


def long_ago() -> datetime:
    """As seen by the test that asks, which may run long after this file was read."""
    return datetime.now(UTC) - timedelta(minutes=10)


def test_a_running_run(tmp_path: Path) -> None:
    run = look_at(write_run(tmp_path / "a", running(), lines=LINES, checkpoints=(20, 40)))
    assert (run.state, run.step, run.total_steps, run.reason, run.problems) == ("running", 50, 100, None, ())
    assert (run.loss, run.eval_loss, run.tokens_per_s) == (1.25, 1.5, 100.0)
    assert run.eta_s == 50 * 2.5
    assert run.checkpoint == tmp_path / "a" / "checkpoints" / "step-40"
    plain = json.loads(json.dumps(run.to_json()))
    assert (plain["state"], plain["started"], plain["pid"]) == (
        "running",
        "2026-05-01T12:00:00+00:00",
        this_process().pid,
    )


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (lambda: running(), "running", None),
        (lambda: running(updated=long_ago()), "running", "no sign for 10 min"),
        (lambda: running(gone()), "killed", "is gone and wrote no end"),
        (lambda: running(gone(), launcher=this_process()), "restarting", "its launcher is there"),
        (lambda: running(gone(), launcher=gone()), "killed", "is gone"),
        (lambda: running(gone(), state="starting"), "failed", "before it began to train; log.txt says why"),
        (lambda: running(ELSEWHERE), "running", None),
        (lambda: running(ELSEWHERE, updated=long_ago()), "lost", "no sign since .* of process 4321 on gpu-7"),
        (lambda: ended("finished"), "finished", None),
        (lambda: ended("failed", exit_status=1, reason="a full disk"), "failed", "a full disk"),
        (lambda: ended("failed", exit_status=75, reason="memory", launcher=this_process()), "restarting", "memory"),
        (lambda: ended("stopped", exit_status=130), "stopped", None),
        (lambda: None, "unknown", "no status.json"),
    ],
)
def test_the_state_is_what_was_written_and_whether_its_process_lives(
    status: Callable[[], Status | None], state: str, reason: str | None
) -> None:
    seen = see(status())
    assert seen.state == state
    assert seen.is_live == (state in {"running", "restarting"})
    assert seen.reason is None if reason is None else re.search(reason, seen.reason or "")


def test_damaged_files_mark_the_row(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", lines=LINES)
    (folder / "status.json").write_text('{"state": "run')
    (folder / "metrics.jsonl").write_text((folder / "metrics.jsonl").read_text() + '{"step": 60, "lo')
    run = look_at(folder)
    assert (run.state, run.step, run.loss, run.eta_s) == ("unknown", 50, 1.25, None)
    status, metrics = run.problems
    assert "status.json is no status of a run" in status
    assert metrics == "metrics.jsonl ends in the middle of a line"


@pytest.mark.parametrize("line", ["not json", "[1]", "17", '{"loss": 1.0}', '{"step": "x"}', ""])
def test_lines_that_cannot_be_read_are_counted(tmp_path: Path, line: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f"{json.dumps(LINES[0])}\n{line}\n{json.dumps(LINES[2])}\n")
    numbers = read_numbers(file)
    assert [read["step"] for read in numbers.lines] == [10, 50]
    assert numbers.problem == "metrics.jsonl has 1 line that cannot be read"


def test_of_a_long_file_only_the_end_and_the_last_evaluation_are_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [training_line(step, float(step)) for step in range(1, 5001)]
    lines[4500:4500] = [evaluation_line(4400, 1.5), evaluation_line(4500, 1.25)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    numbers = read_last_numbers(file)
    assert [line["step"] for line in numbers.lines] == [4500, *range(4951, 5001)]
    assert (numbers.last("loss"), numbers.last("eval_loss"), numbers.problem) == (5000.0, 1.25, None)
    assert len(read_numbers(file).lines) == 5002


def test_the_table_has_a_line_for_each_run_the_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", ended("failed", reason="a full disk"), lines=LINES[:1])
    write_run(tmp_path / "b", running(started=BEGAN + timedelta(hours=1), exact=False), lines=LINES)
    write_run(tmp_path / "c")
    runs = [look_at(tmp_path / name) for name in "abc"]
    *lines, last = render_table(runs, now=BEGAN + timedelta(hours=3)).splitlines()
    assert lines == [
        "RUN  STATE       STEP    LOSS  HELD-OUT  TOKENS/S  AGE    ETA  NOTE",
        "b    running  50/~100  1.2500    1.5000       100  2 h  2 min",
        "a    failed   100/100  2.0000         -       100  3 h      -  a full disk",
    ]
    assert re.fullmatch(r"c +unknown( +-){6}  no status.json.*", last)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (90, "1 min"),
        (12_000, "3 h 20 min"),
        (7_200, "2 h"),
        (187_200, "2 d 4 h"),
        (-3, "0 s"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text
