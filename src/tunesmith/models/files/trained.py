"""Where a trained thing lies: run folders, their checkpoints, adapters, models. Looks at names only, loads nothing."""

from __future__ import annotations

import re
from pathlib import Path

from tunesmith import log

ADAPTER_CONFIG = "adapter_config.json"
RUN_SETTINGS = "run.yaml"
_CHECKPOINT = re.compile(r"(?:step|checkpoint)-(\d+)")
"""Ours are checkpoints/step-N, LLaMA-Factory's checkpoint-N beside its model."""


def holds_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter in PEFT's layout."""
    return (folder / ADAPTER_CONFIG).is_file()


def holds_model(folder: Path) -> bool:
    """Whether `folder` holds a model or an adapter."""
    return holds_adapter(folder) or (folder / "config.json").is_file()


def run_of(folder: Path) -> Path | None:
    """The run folder that `folder` is, or is a checkpoint of."""
    place = folder.resolve()
    candidates = [folder, *place.parents[:2]] if _CHECKPOINT.fullmatch(place.name) else [folder]
    return next((candidate for candidate in candidates if (candidate / RUN_SETTINGS).is_file()), None)


def finished_or_latest(folder: Path) -> Path | None:
    """`folder` itself if it holds a model or adapter, else the last checkpoint in it that does (said), else None."""
    if holds_model(folder):
        return folder
    found = {
        int(match[1]): checkpoint
        for checkpoint in (*folder.glob("checkpoints/*"), *folder.glob("checkpoint-*"))
        if (match := _CHECKPOINT.fullmatch(checkpoint.name)) and holds_model(checkpoint)
    }
    if not found:
        return None
    step = max(found)
    log.info(f"the run in {folder} did not finish; this is its latest checkpoint, of step {step}")
    return found[step]
