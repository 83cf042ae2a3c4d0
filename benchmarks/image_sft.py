"""Training on pictures of mixed sizes for three epochs: Tunesmith beside LLaMA-Factory, whole runs.

    python -m benchmarks.image_sft [--rounds 2] [--rows 240]

A tiny Qwen2.5-VL (real architecture), float32, LoRA of rank 8, batches of 2 x 2; JPEGs from 320 x 240 to 1920 x 1080.
Whole runs count, from the command to its end, because LLaMA-Factory prepares every picture twice; the steps alone
stand beside.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.material import build_vision_model, write_image_rows
from benchmarks.peers.tools import Result, Task, Tool, run_tool

TOOLS: tuple[Tool, ...] = ("tunesmith", "llamafactory")
SIZES = ((320, 240), (1920, 1080), (640, 480), (1080, 1440), (800, 600), (1280, 720))


def main() -> None:
    """Print the table of RESULTS.md, section "Pictures of mixed sizes"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=240)
    arguments = parser.parse_args()
    found: dict[Tool, list[Result]] = {tool: [] for tool in TOOLS}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = build_vision_model(work / "vision")
        data = write_image_rows(work / "data", num_rows=arguments.rows, num_pictures=arguments.rows, sizes=SIZES)
        task = Task(
            model, data, "pictures", arguments.rows, epochs=3.0, batch_size=2, accumulation=2, template="qwen2_vl"
        )
        for _ in range(arguments.rounds):
            for tool in TOOLS:
                found[tool].append(run_tool(tool, task, work=work))
                print(f"# {tool}: {found[tool][-1].measured}", flush=True)
    print("| tool | whole run, s | steps alone, s | peak memory, MiB |\n| --- | ---: | ---: | ---: |")
    for tool, results in found.items():
        whole = statistics.median(result.measured.total_s for result in results)
        steps = statistics.median(result.measured.steady_s for result in results)
        peak = statistics.median(result.measured.peak_bytes for result in results) / 2**20
        print(f"| {tool} | {whole:.1f} | {steps:.1f} | {peak:,.0f} |")


if __name__ == "__main__":
    main()
