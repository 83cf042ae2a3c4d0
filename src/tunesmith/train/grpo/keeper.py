"""Checkpoints of a run that TRL's trainer makes, in the layout of every other stage.

checkpoints/step-N/            the adapter or model with its tokenizer
checkpoints/step-N/trainer/    progress.json; weights.safetensors for adapters; the state of transformers' Trainer:
                               optimizer.pt, scheduler.pt, trainer_state.json, …; absent with save_only_model

Where TRL writes first is a folder that is not a checkpoint, so none is ever seen half written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.config.training import TrainingSettings
from tunesmith.data.report.report_builder import ReportBuilder
from tunesmith.errors import RunError
from tunesmith.train.checkpoint.progress import TRAINER, Progress, write_progress
from tunesmith.train.checkpoint.whole import write_adapter_weights
from tunesmith.train.folder.atomic import explained, move_files, remove_folder, writing_folder
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.steps.state import TrainState

_UNFINISHED = ".writing-trl"
_TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True, slots=True)
class DrawingKeeper:
    """Keeps what TRL's trainer saves. `write_model` writes model or adapter, with its tokenizer, into a folder."""

    folder: RunFolder
    training: TrainingSettings
    model: nn.Module
    state: TrainState
    write_model: Callable[[Path], None]
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    report: ReportBuilder

    @property
    def unfinished(self) -> Path:
        """Where TRL's trainer writes."""
        return self.folder.checkpoints / _UNFINISHED

    def take_in(self) -> Path:
        """Make a checkpoint of what TRL's trainer has just written, then delete what is over the limit."""
        written = self.unfinished / f"checkpoint-{self.state.step}"
        place = self.folder.checkpoint(self.state.step)
        with writing_folder(place) as draft:
            self.write_model(draft)
            if not self.training.save_only_model:
                trainer = draft / TRAINER
                shutil.copytree(written, trainer)
                write_adapter_weights(self.model, trainer)
                progress = Progress(self.state, self.identity, self.settings, self.report.to_json())
                write_progress(progress, trainer)
        with explained(self.unfinished):
            shutil.rmtree(self.unfinished)
        self._drop_oldest()
        return place

    def finish(self) -> None:
        """Put the model as it is at the root."""
        final = self.folder.path / "final"
        with writing_folder(final) as draft:
            self.write_model(draft)
        move_files(final, self.folder.path)
        final.rmdir()

    def _drop_oldest(self) -> None:
        limit = self.training.save_total_limit
        if limit is None:
            return
        for step in self.folder.checkpoint_steps()[:-limit]:
            remove_folder(self.folder.checkpoint(step))


def trainer_part(checkpoint: Path) -> Path:
    """What TRL's trainer goes on from. Raises RunError for a checkpoint of another stage."""
    part = checkpoint / TRAINER
    if not (part / _TRAINER_STATE).is_file():
        raise RunError(
            f"resume_from_checkpoint: {checkpoint} is of a run of another stage, so stage grpo cannot go on from it. "
            "To start from its weights, give it as adapter_name_or_path (an adapter) or model_name_or_path (a model)"
        )
    return part
