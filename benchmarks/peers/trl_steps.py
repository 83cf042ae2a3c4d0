"""What TRL's scripts share: arguments, and a line for each step. Beside them: they run in TRL's environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


def shared_arguments(order: dict[str, Any]) -> dict[str, Any]:
    """What both trainers are told alike, of the keys that Tunesmith and LLaMA-Factory are given too."""
    same = ("output_dir", "gradient_accumulation_steps", "learning_rate", "num_train_epochs", "max_steps")
    return {
        **{name: order[name] for name in same},
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "seed": 42,
    }


class Steps(TrainerCallback):
    """Writes step and loss as a JSON line."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Called by the trainer after a step."""
        if logs and "loss" in logs:
            with self._file.open("a") as file:
                file.write(json.dumps({"step": state.global_step, "loss": float(logs["loss"])}) + "\n")
