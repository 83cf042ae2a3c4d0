"""From the command to the first finished step, for few and for many rows: Tunesmith beside LLaMA-Factory.

    python -m benchmarks.cold_start [--rounds 3] [--tokenizer FOLDER] [--data alpaca.json]
                                    [--text-rows 1000 50000] [--image-rows 100 2000]

Text: alpaca rows on a 45M-parameter Qwen2. Pictures: 1920 x 1080 JPEGs on a tiny Qwen2.5-VL. LLaMA-Factory prepares
every row before its first step; how long that takes beside its start is what the two row counts show.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.material import (
    build_text_model,
    build_vision_model,
    load_tokenizer,
    repeat_text_rows,
    write_image_rows,
    write_text_rows,
)
from benchmarks.peers.tools import Task, Tool, run_tool

TOOLS: tuple[Tool, ...] = ("tunesmith", "llamafactory")


def first_steps(task: Task, *, rounds: int, work: Path) -> dict[Tool, float]:
    """Median seconds to the first step, the tools in turn."""
    found: dict[Tool, list[float]] = {tool: [] for tool in TOOLS}
    for _ in range(rounds):
        for tool in TOOLS:
            seconds = run_tool(tool, task, work=work).measured.first_step_s
            assert seconds is not None
            found[tool].append(seconds)
    return {tool: statistics.median(seconds) for tool, seconds in found.items()}


def report(what: str, found: dict[Tool, float]) -> None:
    """One line of the table."""
    ours, theirs = found["tunesmith"], found["llamafactory"]
    print(f"| {what} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |", flush=True)


def main() -> None:
    """Print the table of RESULTS.md, section "Cold start"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--data", type=Path, help="alpaca rows to repeat; drawn ones without it")
    parser.add_argument("--text-rows", type=int, nargs="*", default=[1000, 50_000])
    parser.add_argument("--image-rows", type=int, nargs="*", default=[100, 2000])
    arguments = parser.parse_args()
    print("| rows | Tunesmith, s | LLaMA-Factory, s | times sooner |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        text = build_text_model(work / "text", tokenizer=load_tokenizer(arguments.tokenizer))
        vision = build_vision_model(work / "vision")
        for count in arguments.text_rows:
            place = work / f"text{count}"
            data = (
                repeat_text_rows(arguments.data, place, num_rows=count)
                if arguments.data
                else write_text_rows(place, num_rows=count)
            )
            task = Task(text, data, "rows", num_rows=count, max_steps=1, batch_size=1, accumulation=1)
            report(f"{count:,} of text", first_steps(task, rounds=arguments.rounds, work=work))
        for count in arguments.image_rows:
            data = write_image_rows(work / f"images{count}", num_rows=count, num_pictures=50, sizes=((1920, 1080),))
            task = Task(vision, data, "pictures", count, max_steps=1, batch_size=1, accumulation=1, template="qwen2_vl")
            report(f"{count:,} with a 1080p picture", first_steps(task, rounds=arguments.rounds, work=work))


if __name__ == "__main__":
    main()
