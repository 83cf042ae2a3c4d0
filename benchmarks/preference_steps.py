"""DPO steps on one model, the same pairs, LoRA and hardware: Tunesmith, LLaMA-Factory and TRL in its settings.

    python -m benchmarks.preference_steps [pictures|long|short …] [--rounds 1] [--tokenizer FOLDER] [--tools …]

pictures: a Qwen2.5-VL whose prompt is a picture of about 1,024 tokens, answers of about 20 words; long: a text model,
prompts of about 1,000 words and answers of about 40; short: prompts of about 20 words, answers of about 100. LoRA of
rank 8 on the language model, batches of 1 x 2 (short: 4 x 2), float32, one epoch. Prints pairs a second over the steps
after the first and the peak memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.material import (
    VOCABULARY,
    PairSizes,
    build_preference_vision_model,
    build_text_model,
    load_tokenizer,
    write_pairs,
)
from benchmarks.peers.tools import Result, Task, Tool, run_tool

CASES: Mapping[str, PairSizes] = {
    "pictures": PairSizes(question=12, answer=20, picture=896),
    "long": PairSizes(question=1000, answer=40),
    "short": PairSizes(question=20, answer=100),
}
TOOLS: tuple[Tool, ...] = ("tunesmith", "tunesmith apart", "llamafactory", "trl", "trl precomputed")
_TEXT_ALONE: tuple[Tool, ...] = ("trl precomputed",)
"""TRL refuses to compute the reference before the training where rows have pictures."""


def build_task(case: str, *, work: Path, tokenizer: Any, vocabulary: int, num_rows: int) -> Task:
    """The training of one case, its model and rows written under `work`."""
    sizes = CASES[case]
    sees = sizes.picture is not None
    build = build_preference_vision_model if sees else build_text_model
    picture_keys = {"image_max_pixels": 4096 * 4096} if sees else {}
    return Task(
        build(work / case / "model", tokenizer=tokenizer, vocabulary=vocabulary),
        write_pairs(work / case / "data", sizes, num_rows=num_rows),
        "pairs",
        num_rows,
        batch_size=4 if case == "short" else 1,
        accumulation=2,
        cutoff_len=4096,
        template="qwen2_vl" if sees else "qwen",
        stage="dpo",
        shared={"pref_beta": 0.1, "pref_loss": "sigmoid", **picture_keys},
        extra={"tunesmith apart": {"share_prefix": False}},
    )


def main() -> None:
    """Print the tables of RESULTS.md, section "Pairs"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="smaller: what is won beside the head")
    parser.add_argument("--tools", nargs="*", default=list(TOOLS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            tokenizer = load_tokenizer(arguments.tokenizer)
            task = build_task(
                case,
                work=Path(folder),
                tokenizer=tokenizer,
                vocabulary=arguments.vocabulary,
                num_rows=arguments.rows,
            )
            skipped = _TEXT_ALONE if CASES[case].picture else ()
            found: dict[Tool, list[Result]] = {tool: [] for tool in arguments.tools if tool not in skipped}
            for _ in range(arguments.rounds):
                for tool in found:
                    found[tool].append(run_tool(tool, task, work=Path(folder)))
                    print(f"# {case}, {tool}: {found[tool][-1].measured}", flush=True)
            _report(case, found, num_rows=arguments.rows)


def _report(case: str, found: Mapping[Tool, list[Result]], *, num_rows: int) -> None:
    print(f"\n{case}\n\n| tool | pairs/s | peak memory, MiB | first, last loss |\n| --- | ---: | ---: | ---: |")
    for tool, results in found.items():
        seconds = statistics.median(result.measured.steady_s for result in results)
        peak = statistics.median(result.measured.peak_bytes for result in results) / 2**20
        losses = results[-1].losses
        print(f"| {tool} | {num_rows / seconds:.2f} | {peak:,.0f} | {losses[0]:.4f}, {losses[-1]:.4f} |")


if __name__ == "__main__":
    main()
