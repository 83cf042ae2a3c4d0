"""Speed and memory of J1's training step on a random Qwen2.5-VL: `python benchmarks/vision_language_step.py`.

    --size 3b      the published sizes, bf16: for a GPU
    --size small   a hundredth of them, float32: a trial of this script on a CPU

Trains through `tunesmith.train` with J1's keys, LoRA on every linear layer of the language model and then everything
but the tower, on drawn pictures of 512 x 512 pixels. Model FLOP utilisation counts the multiplications that the step
needs (none for recomputed activations) over the rate of a large matrix product measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from tests.tiny import tiny_folder  # noqa: E402

import tunesmith  # noqa: E402

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "3b": {
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        },
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "window_size": 112,
        },
    },
    "small": {
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6},
        },
        "vision_config": {"depth": 4, "hidden_size": 160, "intermediate_size": 428, "out_hidden_size": 256},
    },
}
WARM_UP_STEPS = 3
ANSWER = "A field of one colour, with nothing in it that could be counted or named. " * 8


def main() -> None:
    """Run both kinds of tuning and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="3b")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rate = measure_matmul_rate()
    print(f"{device}, torch {torch.__version__}; a large matrix product runs at {rate / 1e12:.2f} TFLOP/s")
    print(
        "| tuning | tokens/s | step s | model FLOP utilisation | peak memory GiB |\n| --- | ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = build_folder(Path(scratch) / "model", size=given.size)
        data = write_rows(Path(scratch) / "rows", num_rows=given.batch * given.steps)
        for tuning in ("lora", "full"):
            lines = run(folder, data, tuning=tuning, batch=given.batch, scratch=Path(scratch))
            print_row(tuning, lines, flops=step_flops(folder, lines, batch=given.batch, tuning=tuning), rate=rate)


def build_folder(folder: Path, *, size: str) -> Path:
    """Tokenizer, processor and a config.json of the wanted size; the weights are drawn when it is loaded."""
    tiny_folder("qwen2_5_vl", folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    processor_file = folder / "processor_config.json"
    processor = json.loads(processor_file.read_text())
    processor["image_processor"]["size"] = {"shortest_edge": 56 * 56, "longest_edge": 12845056}
    processor_file.write_text(json.dumps(processor))
    config = json.loads((folder / "config.json").read_text())
    for part, sizes in SIZES[size].items():
        config[part].pop("layer_types", None)
        config[part].update(sizes)
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    return folder


def write_rows(folder: Path, *, num_rows: int) -> Path:
    """Rows of one 512 x 512 picture and one answer each."""
    folder.mkdir()
    rows = []
    for index in range(num_rows):
        Image.new("RGB", (512, 512), (index % 256, 90, 160)).save(folder / f"{index}.png")
        turns = [("user", "<image>What is in the picture?"), ("assistant", ANSWER)]
        messages = [{"role": role, "content": text} for role, text in turns]
        rows.append({"messages": messages, "images": [f"{index}.png"]})
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def run(folder: Path, data: Path, *, tuning: str, batch: int, scratch: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, one a step."""
    result = tunesmith.train(
        {
            "model_name_or_path": str(folder),
            "train_from_scratch": True,
            "finetuning_type": tuning,
            "image_max_pixels": 262144,
            "dataset": str(data),
            "output_dir": str(scratch / tuning),
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


def step_flops(folder: Path, lines: list[dict[str, Any]], *, batch: int, tuning: str) -> float:
    """FLOPs that one step needs: 2 a weight and token forward, 2 more for activations, 2 more for trained weights.

    The tower is frozen (forward only). Attention's own products are counted for the language model, causal halves
    left out; the head for supervised positions only.
    """
    config = json.loads((folder / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    patches = (504 // 14) ** 2 * batch
    tokens = tokens_per_step(lines)
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    attention = hidden * hidden * (2 + 2 * text["num_key_value_heads"] / heads)
    layer = attention + 3 * hidden * text["intermediate_size"]
    passes = 4 if tuning == "lora" else 6
    language = passes * text["num_hidden_layers"] * layer * tokens
    scores = 6 * text["num_hidden_layers"] * hidden * tokens * (tokens / batch)
    head = passes * hidden * text["vocab_size"] * supervised_per_step(lines)
    wide = vision["hidden_size"]
    tower = 2 * vision["depth"] * (4 * wide * wide + 3 * wide * vision["intermediate_size"]) * patches
    return float(language + scores + head + tower)


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
