"""What a run said last, and what it says until it ends."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.runs.folders import BEGAN, ended, evaluation_line, running, training_line, write_run
from tunesmith.errors import RunError
from tunesmith.runs.tail import GrowingFile, describe_now, follow, last_lines
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import write_status

LINES = (training_line(10, 2.0), evaluation_line(20, 1.5), training_line(50, 1.25))


def test_numbers_read_as_in_the_terminal(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "run", ended("finished"), lines=LINES))
    assert last_lines(folder, count=2) == [
        "step 20  eval loss 1.5000  token accuracy 50.0%",
        "step 50  epoch 5.00  loss 1.2500  lr 1.00e-04  100 tok/s  waited 500 ms for data",
    ]
    assert describe_now(folder) == f"{folder.path}: finished at step 100/100"


def test_a_log_is_shown_unless_the_run_went_on_in_a_terminal(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "run", ended("finished"), lines=LINES))
    folder.log.write_text("one\ntwo\n")
    assert last_lines(folder, count=1) == ["two"]
    os.utime(folder.log, (BEGAN.timestamp() - 60,) * 2)
    assert last_lines(folder, count=1)[0].startswith("step 50  epoch 5.00")


def test_a_damaged_line_is_said_to_be_one(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "run", lines=LINES[:1]))
    with folder.metrics.open("a") as file:
        file.write('{"step": 60, "lo')
    assert last_lines(folder, count=1) == ['(a line that cannot be read: {"step": 60, "lo)']
    assert describe_now(folder).endswith("metrics.jsonl ends in the middle of a line")


def test_a_run_without_anything_to_show_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match=r"holds neither log.txt nor metrics.jsonl yet"):
        last_lines(RunFolder(tmp_path / "run"), count=3)


def test_following_ends_with_the_run_and_misses_nothing(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "run", running(), lines=LINES[:1]))

    def go_on() -> None:
        for step in range(11, 15):
            time.sleep(0.1)
            with folder.metrics.open("a") as file:
                file.write(json.dumps(training_line(step)) + "\n")
        write_status(folder.status, ended("finished"))

    run = threading.Thread(target=go_on)
    run.start()
    shown = [line.split()[1] for line in follow(folder, count=20)]
    run.join()
    assert shown == ["10", "11", "12", "13", "14"]


def test_a_growing_file_gives_whole_lines_and_starts_anew_when_cut(tmp_path: Path) -> None:
    growing = GrowingFile(tmp_path / "log.txt")
    assert growing.new_lines() == []
    growing.path.write_text("one\ntw")
    assert growing.new_lines() == ["one"]
    growing.path.write_text("one\ntwo\nthree\n")
    assert growing.new_lines() == ["two", "three"]
    growing.path.write_text("new\n")
    assert growing.new_lines() == ["new"]
