"""Peak memory and time to the first step against the number of rows: both must stay flat.

    python -m benchmarks.memory_by_rows [--text-rows 1000 10000 100000 1000000] [--image-rows 1000 10000 50000]

One step each, in a fresh process. Text: a 45M-parameter Qwen2. Pictures: a tiny Qwen2.5-VL and 50 JPEGs of
1920 x 1080 under hard links.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.material import build_text_model, build_vision_model, load_tokenizer, write_image_rows, write_text_rows
from benchmarks.peers.tools import Task, run_tool


def report(what: str, task: Task, *, work: Path) -> None:
    """One line of the table."""
    measured = run_tool("tunesmith", task, work=work).measured
    again = run_tool("tunesmith", task, work=work).measured
    print(
        f"| {what} | {measured.peak_bytes / 2**20:,.0f} | {measured.first_step_s:.1f} | {again.first_step_s:.1f} |",
        flush=True,
    )


def main() -> None:
    """Print the table of RESULTS.md, section "Memory by rows"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--text-rows", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--image-rows", type=int, nargs="*", default=[1_000, 10_000, 50_000])
    arguments = parser.parse_args()
    print("| rows | peak memory, MiB | first step, s | again, s |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        text = build_text_model(work / "text", tokenizer=load_tokenizer(None))
        vision = build_vision_model(work / "vision")
        for count in arguments.text_rows:
            data = write_text_rows(work / "data", num_rows=count)
            task = Task(text, data, "rows", count, max_steps=2, batch_size=1, accumulation=1)
            report(f"{count:,} of text", task, work=work)
        for count in arguments.image_rows:
            data = write_image_rows(work / "images", num_rows=count, num_pictures=50, sizes=((1920, 1080),))
            task = Task(vision, data, "pictures", count, max_steps=2, batch_size=1, accumulation=1, template="qwen2_vl")
            report(f"{count:,} with a picture", task, work=work)


if __name__ == "__main__":
    main()
