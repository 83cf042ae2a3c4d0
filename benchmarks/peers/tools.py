"""One LoRA training, supervised or of preferences, told to Tunesmith, to LLaMA-Factory and to TRL alike."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.peers.environments import python_of
from benchmarks.peers.measure import Measured, losses_in, measure

Tool = Literal[
    "tunesmith", "tunesmith packed", "tunesmith apart", "llamafactory", "trl", "trl packed", "trl precomputed"
]


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained: LoRA of rank 8 on every linear layer, float32, constant learning rate, logged every step.

    shared: further keys of every tool; extra: those of one tool
    """

    model: Path
    data: Path
    dataset: str
    num_rows: int
    max_steps: int = -1
    epochs: float = 1.0
    batch_size: int = 4
    accumulation: int = 2
    cutoff_len: int = 1024
    template: str = "qwen"
    stage: Literal["sft", "dpo"] = "sft"
    shared: dict[str, Any] = field(default_factory=dict)
    extra: dict[Tool, dict[str, Any]] = field(default_factory=dict)

    def settings(self, tool: Tool, output: Path) -> dict[str, Any]:
        """The YAML keys that Tunesmith and LLaMA-Factory share."""
        return {
            "model_name_or_path": str(self.model),
            "stage": self.stage,
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": 8,
            "lora_target": "all",
            "dataset": self.dataset,
            "dataset_dir": str(self.data),
            "template": self.template,
            "cutoff_len": self.cutoff_len,
            "max_samples": self.num_rows,
            "output_dir": str(output),
            "overwrite_output_dir": True,
            "overwrite_cache": True,
            "per_device_train_batch_size": self.batch_size,
            "gradient_accumulation_steps": self.accumulation,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "num_train_epochs": self.epochs,
            "max_steps": self.max_steps,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_gradient_checkpointing": True,
            "seed": 42,
            **self.shared,
            **self.extra.get(tool, {}),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool did, and the loss of each step as it reports them."""

    measured: Measured
    losses: tuple[float, ...]


def run_tool(tool: Tool, task: Task, *, work: Path) -> Result:
    """Train `task` with `tool` in a fresh process, everything it writes under `work`."""
    output = work / tool.replace(" ", "_")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    runner = {"tunesmith": _tunesmith, "llamafactory": _llamafactory, "trl": _trl}[tool.split()[0]]
    return runner(tool, task, output)


def _tunesmith(tool: Tool, task: Task, output: Path) -> Result:
    run = output / "run"
    packed = {"packing": True, "per_device_train_batch_size": 1} if tool == "tunesmith packed" else {}
    config = _write(output / "run.json", task.settings(tool, run) | packed)
    command = [sys.executable, "-m", "tunesmith", "train", config]
    lines = run / "metrics.jsonl"
    measured = measure(
        command,
        folder=output,
        log=output / "log.txt",
        count_steps=losses_in(lines),
        environment={"TUNESMITH_CACHE": str(output / "cache")},
    )
    return Result(measured, tuple(line["loss"] for line in _lines(lines) if "loss" in line))


def _llamafactory(tool: Tool, task: Task, output: Path) -> Result:
    run = output / "run"
    config = output / "run.yaml"
    _write(config, task.settings(tool, run))  # JSON is YAML; its own JSON reading is broken
    command = [python_of("llamafactory").parent / "llamafactory-cli", "train", config]
    lines = run / "trainer_log.jsonl"
    measured = measure(
        command,
        folder=output,
        log=output / "log.txt",
        count_steps=losses_in(lines),
        environment={"HF_HOME": str(output / "cache"), "DISABLE_VERSION_CHECK": "1"},
    )
    return Result(measured, tuple(line["loss"] for line in _lines(lines) if "loss" in line))


def _trl(tool: Tool, task: Task, output: Path) -> Result:
    lines = output / "steps.jsonl"
    order = {**task.settings(tool, output / "run"), "steps_file": str(lines), "packing": tool == "trl packed"}
    order["precompute"] = tool == "trl precomputed"
    script = Path(__file__).with_name(f"trl_{task.stage}.py")
    measured = measure(
        [python_of("trl"), script, _write(output / "run.json", order)],
        folder=output,
        log=output / "log.txt",
        count_steps=losses_in(lines),
        environment={"HF_HOME": str(output / "cache")},
    )
    return Result(measured, tuple(line["loss"] for line in _lines(lines)))


def _write(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return file


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
