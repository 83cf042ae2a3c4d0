"""Preparing rows with pictures, rows a second: Tunesmith's encoding beside LLaMA-Factory's `map`.

    python -m benchmarks.image_preparation [--rows 50 250] [--rounds 3]

Rows with one 1920 x 1080 JPEG each, a tiny Qwen2.5-VL's processor, one process each. LLaMA-Factory stops after
preparing when `tokenized_path` is set; what its start takes is gone in the difference between the two row counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.material import build_vision_model, write_image_rows
from benchmarks.peers.tools import Task, Tool, run_tool
from tunesmith.config.read import load_settings_from
from tunesmith.data.prepare import prepare_data
from tunesmith.models.preprocessing.processor import load_preprocessor


def our_seconds(task: Task, *, folder: Path) -> float:
    """Seconds for all rows, nothing cached, in this process."""
    settings = load_settings_from({**task.settings("tunesmith", folder), "encoding_cache": False})
    preprocessor = load_preprocessor(settings.model, settings.media)
    started = time.perf_counter()
    report = prepare_data(settings, preprocessor).report
    seconds = time.perf_counter() - started
    assert report.train.rows == task.num_rows, "every row must have been encoded"
    return seconds


def their_seconds(task: Task, *, work: Path) -> float:
    """Seconds of LLaMA-Factory's whole process."""
    return run_tool("llamafactory", task, work=work).measured.total_s


def rows_per_s(times: list[tuple[int, float]]) -> float:
    """From the difference between few and many rows."""
    (few, short), (many, long) = times
    return (many - few) / (long - short)


def _stop(prepared: Path) -> dict[Tool, dict[str, Any]]:
    return {"llamafactory": {"tokenized_path": str(prepared)}}


def main() -> None:
    """Print the table of RESULTS.md, section "Preparing pictures"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs=2, default=[50, 250])
    arguments = parser.parse_args()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = build_vision_model(work / "vision")
        folders = {
            count: write_image_rows(work / f"rows{count}", num_rows=count, num_pictures=50, sizes=((1920, 1080),))
            for count in arguments.rows
        }
        for turn in range(arguments.rounds):
            tasks = [
                Task(model, data, "pictures", count, template="qwen2_vl", extra=_stop(work / f"prepared{count}_{turn}"))
                for count, data in folders.items()
            ]
            ours.append(rows_per_s([(task.num_rows, our_seconds(task, folder=work)) for task in tasks]))
            theirs.append(rows_per_s([(task.num_rows, their_seconds(task, work=work)) for task in tasks]))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print("| tool | rows with a 1080p picture a second |\n| --- | ---: |")
    print(f"| Tunesmith | {mine:,.0f} |\n| LLaMA-Factory 0.9.5 | {other:,.1f} |\n\n{mine / other:,.0f} times")


if __name__ == "__main__":
    main()
