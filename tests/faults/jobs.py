"""The runs that are hurt: a few steps each, together with everything that makes a run's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import tiny_folder
from tests.train.preference_runs import preference_settings, write_preferences
from tests.train.runs import run_settings, write_documents, write_rows

_OFTEN = {"logging_steps": 1, "save_steps": 1, "save_total_limit": 2, "ddp_timeout": 30}
"""Of all; where no launcher ends processes that wait for one that was killed, they wait no longer than ddp_timeout."""
_SHORT = {"num_train_epochs": 2, "gradient_accumulation_steps": 1, "per_device_train_batch_size": 2}


@dataclass(frozen=True, slots=True)
class Job:
    """A run by name. `write` puts its rows into a folder and returns settings, given the model and that folder."""

    name: str
    model: str
    write: Callable[[Path, Path], dict[str, Any]]
    changes: dict[str, Any] = field(default_factory=dict)

    def prepare(self, folder: Path) -> Path:
        """Write model, rows and the settings without output_dir; returns the settings file."""
        folder.mkdir(parents=True)
        model = tiny_folder(self.model, folder / "model")
        settings = {**self.write(model, folder), **_OFTEN, **self.changes}
        del settings["output_dir"]
        file = folder / "settings.yaml"
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return file


def _conversations(model: Path, folder: Path) -> dict[str, Any]:
    return run_settings(model, write_rows(folder, count=12), folder, **_SHORT)


def _pictures(model: Path, folder: Path) -> dict[str, Any]:
    return run_settings(model, write_rows(folder, images=True), folder, **_SHORT)


def _documents(model: Path, folder: Path) -> dict[str, Any]:
    return run_settings(model, write_documents(folder, count=8), folder, stage="pt", cutoff_len=64)


def _pairs(model: Path, folder: Path) -> dict[str, Any]:
    return preference_settings(model, folder, stage="dpo", **_SHORT) | {"dataset": _written_pairs(folder)}


def _written_pairs(folder: Path) -> str:
    write_preferences(folder, stage="dpo")
    return "rows"


_HELD_OUT = {"val_size": 2, "eval_steps": 2}
_BY_WORKERS = {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 1}
_ONE_BY_ONE = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": 6}
_ENDLESS = {"streaming": True, "buffer_size": 4, "max_steps": 6}

ADAPTER = Job("adapter", "qwen2", _conversations, _HELD_OUT | {"load_best_model_at_end": True})
WHOLE_MODEL = Job("whole model", "qwen2", _conversations, {"finetuning_type": "full", **_BY_WORKERS})
PICTURES = Job("pictures", "qwen2_5_vl", _pictures, {"finetuning_type": "full", **_HELD_OUT})
PACKED_STREAM = Job("stream of packs", "qwen2", _conversations, {**_ENDLESS, "packing": True, "cutoff_len": 80})
DOCUMENTS = Job("documents", "qwen2", _documents, {"max_steps": 5, "finetuning_type": "full", "optim": "adafactor"})
PAIRS = Job("pairs", "qwen2", _pairs, {"max_steps": 5})
SINGLES = Job("rows one by one", "qwen2", _conversations, _ONE_BY_ONE)
LONG = Job("long", "qwen2", _conversations, {"finetuning_type": "full", "num_train_epochs": 20, "save_steps": 3})
"""Long enough to be met from outside, by its lines of metrics: some seconds."""
BACKGROUND = Job("saved in the background", "qwen2", _conversations, {"save_in_background": True})

JOBS = (ADAPTER, BACKGROUND, WHOLE_MODEL, PICTURES, PACKED_STREAM, DOCUMENTS, PAIRS, SINGLES)
