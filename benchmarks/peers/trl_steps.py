"""What TRL's scripts share: a line for each training step. Beside them, because they run in TRL's environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class Steps(TrainerCallback):
    """Writes step and loss as a JSON line."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Called by the trainer after a step."""
        if logs and "loss" in logs:
            with self._file.open("a") as file:
                file.write(json.dumps({"step": state.global_step, "loss": float(logs["loss"])}) + "\n")
