"""One process and two on the same steps: rows a second, efficiency, and what travels between the processes.

    python -m benchmarks.scaling [--engines ddp fsdp2 zero2 zero3] [--tuning full lora] [--rows 96]

The global batch is the same for one process and for two (16 micro-batches of 2 rows a step), each process has one core.
A Qwen2 of six layers, hidden size 256 and 8,192 tokens, float32. Efficiency is the rate of two processes over twice the
rate of one; time in communication is what the first process spent inside collectives, waiting for the other included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.material import build_text_model, load_tokenizer, write_text_rows

_VOCABULARY = 8192
_MICRO_BATCHES = 16
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "ddp": {"parallel": "ddp"},
    "fsdp2": {"parallel": "fsdp2"},
    "zero1": {"deepspeed": "zero1"},
    "zero2": {"deepspeed": "zero2"},
    "zero3": {"deepspeed": "zero3"},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Of the steps after the first.

    tokens_per_s:    of all processes together
    communication:   share of the first process's time
    megabytes:       that the first process gave to collectives, a step
    peak_mib:        resident memory of the first process at its highest
    """

    tokens_per_s: float
    communication: float
    megabytes: float
    peak_mib: float


def run(settings: Mapping[str, Any], *, num_processes: int, work: Path) -> Measured:
    """Train in `num_processes` of one thread each."""
    file, told = work / "run.json", work / "told.json"
    file.write_text(json.dumps({**settings, "output_dir": str(work / "run")}), encoding="utf-8")
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes), "-m"]
    command = [sys.executable, "-m", *launcher, "benchmarks.scaling_process", str(file), str(told)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TUNESMITH_CACHE": str(work / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    content = json.loads(told.read_text(encoding="utf-8"))
    return Measured(**content)


def compare(engine: str, settings: Mapping[str, Any], *, alone: Measured, work: Path) -> tuple[str, Measured, float]:
    """A row of the table: two processes by `engine`, and their efficiency."""
    own = {**settings, **_SETTINGS[engine], "gradient_accumulation_steps": _MICRO_BATCHES // 2}
    two = run(own, num_processes=2, work=_folder(work, engine))
    return engine, two, two.tokens_per_s / (2 * alone.tokens_per_s)


def main() -> None:
    """Print the table of RESULTS.md, section "Several processes"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engines", nargs="*", default=["ddp", "fsdp2", "zero2", "zero3"])
    parser.add_argument("--tuning", nargs="*", default=["full", "lora"])
    parser.add_argument("--rows", type=int, default=96)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tokenizer = load_tokenizer(None)
        model = build_text_model(work / "model", tokenizer=tokenizer, vocabulary=_VOCABULARY)
        data = write_text_rows(work / "data", num_rows=arguments.rows)
        for tuning in arguments.tuning:
            settings = _settings(model, data, tuning)
            one = {**settings, "gradient_accumulation_steps": _MICRO_BATCHES}
            alone = run(one, num_processes=1, work=_folder(work, f"{tuning}-1"))
            rows = [compare(name, settings, alone=alone, work=work / tuning) for name in arguments.engines]
            print(_table(tuning, alone, rows), flush=True)


def _settings(model: Path, data: Path, tuning: str) -> dict[str, Any]:
    return {
        "model_name_or_path": str(model),
        "dataset": "rows",
        "dataset_dir": str(data),
        "template": "qwen",
        "finetuning_type": tuning,
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
    }


def _folder(work: Path, name: str) -> Path:
    folder = work / name
    folder.mkdir(parents=True)
    return folder


def _table(tuning: str, alone: Measured, rows: Sequence[tuple[str, Measured, float]]) -> str:
    lines = [
        f"{tuning}: one process {alone.tokens_per_s:,.0f} tokens/s, {alone.peak_mib:,.0f} MiB",
        "| two processes by | tokens/s | efficiency | in collectives | MB a step | peak of process 0, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {two.tokens_per_s:,.0f} | {efficiency:.0%} | {two.communication:.0%} | {two.megabytes:,.1f} | "
        f"{two.peak_mib:,.0f} |"
        for name, two, efficiency in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
