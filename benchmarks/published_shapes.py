"""Speed and memory of a training step at a published model's sizes, its weights drawn at random.

    python -m benchmarks.published_shapes MODEL [--size full|small] [--steps 12] [--batch 4]

    MODEL         qwen2_5_vl_3b, minicpm_v_4_5, internlm2_1_8b
    --size small  a small fraction of the sizes, float32: a trial of this script on a CPU

Trains through `tunesmith.train`, LoRA on every linear layer of the language model and then everything but the tower, on
rows of one drawn picture of 512 x 512 pixels (text models: of text alone). Model FLOP utilisation counts the
multiplications that the step needs (none for recomputed activations) over the rate of a large matrix product measured
in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

import tunesmith
from benchmarks.published_sizes import PUBLISHED, Published, write_folder
from tunesmith.export.merge import build_skeleton
from tunesmith.models.parts import Part, find_parts

WARM_UP_STEPS = 3
ANSWER = "A field of one colour, with nothing in it that could be counted or named. " * 8
QUESTION = "What is in the picture, and what would somebody who had never seen one say about it? " * 24


def main() -> None:
    """Run both kinds of tuning and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=PUBLISHED)
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    published = PUBLISHED[given.model]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rate = measure_matmul_rate()
    print(
        f"{given.model} ({given.size}) on {device}, torch {torch.__version__}; a large matrix product runs at "
        f"{rate / 1e12:.2f} TFLOP/s"
    )
    print("| tuning | tokens/s | step s | model FLOP utilisation | peak memory GiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_folder(published, Path(scratch) / "model", size=given.size)
        data = write_rows(Path(scratch) / "rows", num_rows=given.batch * given.steps, with_pictures=published.sees)
        for tuning in ("lora", "full"):
            lines = run(folder, data, tuning=tuning, batch=given.batch, scratch=Path(scratch))
            flops = step_flops(folder, lines, published=published, batch=given.batch, tuning=tuning)
            print_row(tuning, lines, flops=flops, rate=rate)


def write_rows(folder: Path, *, num_rows: int, with_pictures: bool) -> Path:
    """Rows of one question (with one 512 x 512 picture) and one answer each."""
    folder.mkdir()
    rows = []
    for index in range(num_rows):
        row: dict[str, Any] = {}
        question = QUESTION
        if with_pictures:
            Image.new("RGB", (512, 512), (index % 256, 90, 160)).save(folder / f"{index}.png")
            row["images"] = [f"{index}.png"]
            question = "<image>What is in the picture?"
        row["messages"] = [
            {"role": role, "content": text} for role, text in (("user", question), ("assistant", ANSWER))
        ]
        rows.append(row)
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def run(folder: Path, data: Path, *, tuning: str, batch: int, scratch: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, one a step."""
    result = tunesmith.train(
        {
            "model_name_or_path": str(folder),
            "train_from_scratch": True,
            "finetuning_type": tuning,
            "dataset": str(data),
            "output_dir": str(scratch / tuning),
            "cutoff_len": 4096,
            "per_device_train_batch_size": batch,
            "num_train_epochs": 1,
            "learning_rate": 1e-5,
            "logging_steps": 1,
            "save_strategy": "no",
            "dataloader_num_workers": 4,
            "bf16": torch.cuda.is_available(),
        }
    )
    return [json.loads(line) for line in (result.run_folder / "metrics.jsonl").read_text().splitlines()]


def measure_matmul_rate() -> float:
    """FLOP/s of a large square product in the format that training multiplies in: the best of five."""
    on_gpu = torch.cuda.is_available()
    size, dtype = (8192, torch.bfloat16) if on_gpu else (1536, torch.float32)
    matrix = torch.randn(size, size, dtype=dtype, device="cuda" if on_gpu else "cpu")
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        matrix @ matrix
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds[3:])


def step_flops(folder: Path, lines: list[dict[str, Any]], *, published: Published, batch: int, tuning: str) -> float:
    """FLOP that one step needs: 2 a weight and token forward, 2 more for activations, 2 more for trained weights.

    The tower is frozen (forward only). Attention's own products are counted for the language model, causal halves
    left out; the head for supervised positions only. Projectors are left out: they are small, and what passes through
    them differs.
    """
    weights = linear_weights(folder)
    text = build_skeleton(folder).config.get_text_config()
    tokens = tokens_per_step(lines)
    passes = 4 if tuning == "lora" else 6
    language = passes * weights[Part.LANGUAGE_MODEL] * tokens
    scores = 6 * text.num_hidden_layers * text.hidden_size * tokens * (tokens / batch)
    head = passes * text.vocab_size * text.hidden_size * supervised_per_step(lines)
    tower = 2 * weights[Part.VISION_TOWER] * published.patches_per_picture * batch
    return float(language + scores + head + tower)


def linear_weights(folder: Path) -> Counter[Part]:
    """How many weights the linear layers of each part have."""
    model = build_skeleton(folder)
    parts = find_parts(model)
    counted: Counter[Part] = Counter()
    for name, layer in _linear_layers(model):
        counted[parts.part_of(name)] += layer.weight.numel()
    return counted


def _linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear))


def tokens_per_step(lines: list[dict[str, Any]]) -> float:
    """Tokens of a step, padding left out."""
    return statistics.median(line["tokens_per_s"] * line["step_s"] for line in lines[WARM_UP_STEPS:])


def supervised_per_step(lines: list[dict[str, Any]]) -> float:
    """Supervised tokens of a step."""
    return float(lines[-1]["supervised_tokens"] - lines[-2]["supervised_tokens"])


def print_row(tuning: str, lines: list[dict[str, Any]], *, flops: float, rate: float) -> None:
    """One row of the table, from the steps after the warm-up."""
    seconds = statistics.median(line["step_s"] for line in lines[WARM_UP_STEPS:])
    memory = max(line["peak_memory_bytes"] for line in lines) / 2**30
    speed = tokens_per_step(lines) / seconds
    print(f"| {tuning} | {speed:,.0f} | {seconds:.3f} | {flops / seconds / rate:.1%} | {memory:.1f} |")


if __name__ == "__main__":
    main()
