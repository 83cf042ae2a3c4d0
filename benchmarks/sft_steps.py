"""Supervised steps on one model, the same rows, LoRA and hardware: Tunesmith, LLaMA-Factory, TRL and TRL packed.

    python -m benchmarks.sft_steps [--rounds 2] [--rows 400] [--tokenizer FOLDER] [--data alpaca.json]

A 45M-parameter Qwen2 with 151,936 tokens, float32, batches of 4 x 2, LoRA of rank 8, one epoch, cutoff 1,024. Prints
supervised tokens a second (over the steps after the first), peak memory, and the floor: the multiplications that the
rows need (layers for every token, head for supervised ones, no padding, no recomputation) over the rate of a large
matrix product measured on this machine before every round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.material import build_text_model, load_tokenizer, repeat_text_rows, write_text_rows
from benchmarks.peers.tools import Result, Task, Tool, run_tool
from tunesmith.config.read import load_settings_from
from tunesmith.data.prepare import prepare_data
from tunesmith.models.preprocessing.processor import load_preprocessor

LAYERS, HIDDEN, INTERMEDIATE, KEY_VALUE, VOCABULARY = 6, 256, 1024, 128, 151_936
ALL_TOOLS: tuple[Tool, ...] = ("tunesmith", "tunesmith packed", "llamafactory", "trl", "trl packed")


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of all rows, those in the loss, and the multiply-adds of forward and backward under LoRA, in FLOP."""

    tokens: int
    supervised: int

    @property
    def flop(self) -> float:
        """Forward and the backward to the inputs: frozen weights have no gradient. LoRA's own part is left out."""
        layer = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEY_VALUE + 3 * HIDDEN * INTERMEDIATE
        return 4.0 * (self.tokens * LAYERS * layer + self.supervised * HIDDEN * VOCABULARY)


def count_work(task: Task, *, folder: Path) -> Work:
    """What the rows hold, as Tunesmith encodes them."""
    settings = load_settings_from({**task.settings("tunesmith", folder), "encoding_cache": False})
    totals = prepare_data(settings, load_preprocessor(settings.model, settings.media)).report.train
    return Work(totals.tokens, totals.supervised_tokens)


def matrix_rate() -> float:
    """FLOP a second of a float32 product of 2,048 x 2,048 matrices, the best of five."""
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


def main() -> None:
    """Print the table of RESULTS.md, section "Supervised steps"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--data", type=Path, help="alpaca rows; drawn ones without it")
    parser.add_argument("--tools", nargs="*", default=list(ALL_TOOLS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = build_text_model(work / "model", tokenizer=load_tokenizer(arguments.tokenizer))
        data = _rows(arguments.data, work / "data", num_rows=arguments.rows)
        task = Task(model, data, "rows", num_rows=arguments.rows)
        load = count_work(task, folder=work)
        found: dict[Tool, list[Result]] = {tool: [] for tool in arguments.tools}
        rates = []
        for _ in range(arguments.rounds):
            rates.append(matrix_rate())
            for tool in found:
                found[tool].append(run_tool(tool, task, work=work))
                print(f"# {tool}: {found[tool][-1].measured}", flush=True)
    _report(found, load, rate=statistics.median(rates))


def _rows(given: Path | None, folder: Path, *, num_rows: int) -> Path:
    if given is None:
        return write_text_rows(folder, num_rows=num_rows)
    return repeat_text_rows(given, folder, num_rows=num_rows)


def _report(found: dict[Tool, list[Result]], load: Work, *, rate: float) -> None:
    floor = load.flop / rate
    print(
        f"{load.tokens:,} tokens, {load.supervised:,} in the loss: {load.flop / 1e12:.1f} TFLOP; at {rate / 1e9:.0f} "
        f"GFLOP/s the floor is {floor:.0f} s\n\n"
        "| tool | supervised tokens/s | of the floor's rate | steps' time, s | peak memory, MiB | first, last loss |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for tool, results in found.items():
        seconds = statistics.median(result.measured.steady_s for result in results)
        peak = statistics.median(result.measured.peak_bytes for result in results) / 2**20
        losses = results[-1].losses
        print(
            f"| {tool} | {load.supervised / seconds:,.0f} | {floor / seconds:.0%} | {seconds:.0f} | {peak:,.0f} | "
            f"{losses[0]:.3f}, {losses[-1]:.3f} |"
        )


if __name__ == "__main__":
    main()
