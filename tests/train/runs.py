"""Whole runs on tiny models: rows, settings, and what is compared of two run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from tunesmith.config.read import load_settings_from
from tunesmith.train.result import TrainResult
from tunesmith.train.run import train

_TIMES = {"tokens_per_s", "step_s", "data_wait_s", "peak_memory_bytes", "eval_s"}


def write_rows(folder: Path, *, count: int = 10, images: bool = False, name: str = "rows.json") -> Path:
    """A JSON file of `count` short conversations, each with a picture of its own colour if asked for."""
    rows = []
    for index in range(count):
        question = f"How much is {index} and {index}?"
        row: dict[str, Any] = {}
        if images:
            picture = folder / f"{index}.png"
            Image.new("RGB", (56 + 28 * (index % 2), 56), (20 * index % 256, 90, 200)).save(picture)
            question = f"<image>{question}"
            row["images"] = [str(picture)]
        row["messages"] = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": f"That makes {2 * index}." + " Yes." * (index % 3)},
        ]
        rows.append(row)
    file = folder / name
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def write_documents(folder: Path, *, count: int = 10, name: str = "documents.json") -> Path:
    """A JSON file of `count` documents, from a sentence to several hundred tokens."""
    texts = [f"Chapter {index}. " + f"And {index} follows {index - 1}. " * (index * index) for index in range(count)]
    file = folder / name
    file.write_text(json.dumps([{"text": text} for text in texts]), encoding="utf-8")
    return file


def run_settings(model: Path, rows: Path | str, output: Path, **changes: Any) -> dict[str, Any]:
    """Flat settings of a run of a few steps on the CPU, with dropout, so that randomness matters."""
    return {
        "model_name_or_path": str(model),
        "dataset": str(rows),
        "output_dir": str(output),
        "finetuning_type": "lora",
        "lora_dropout": 0.1 if changes.get("finetuning_type", "lora") == "lora" else 0.0,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 3,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "logging_steps": 2,
        "save_steps": 2,
        "use_cpu": True,
        **changes,
    }


def run(settings: dict[str, Any], **changes: Any) -> TrainResult:
    """Train in this process."""
    return train(load_settings_from({**settings, **changes}, verb="train"))


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    """What the run left at its root: the adapter's tensors, or the model's."""
    (file,) = [*folder.glob("adapter_model.safetensors"), *folder.glob("model.safetensors")]
    return load_file(file)


def metrics_without_times(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what differs from run to run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in _TIMES} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Final weights equal bit for bit, and every number of the metrics too."""
    expected, found = final_weights(one), final_weights(other)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    assert metrics_without_times(other) == metrics_without_times(one)
