"""Keeps a run's checkpoints: writes them, deletes the oldest, and puts the final model at the run folder's root."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith import log
from tunesmith.config.training import TrainingSettings
from tunesmith.train.account import RowAccount
from tunesmith.train.checkpoint import TRAINER, Progress, write_checkpoint
from tunesmith.train.folder.atomic import move_files, remove_folder, writing_folder
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import Stepper


@dataclass(slots=True)
class Keeper:
    """`write_model` writes model or adapter, with its tokenizer, into a folder."""

    folder: RunFolder
    training: TrainingSettings
    stepper: Stepper
    state: TrainState
    write_model: Callable[[Path], None]
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    account: RowAccount
    pace: Pace | None = None
    _written: tuple[int, int] | None = field(default=None, init=False)

    def save(self) -> Path:
        """Write the checkpoint of the state's step, unless just done, then delete what is over the limit."""
        place = self.folder.checkpoint(self.state.step)
        now = (self.state.step, self.state.settled_step)
        if self._written != now:
            write_checkpoint(
                place,
                write_model=self.write_model,
                stepper=None if self.training.save_only_model else self.stepper,
                progress=Progress(self.state, self.identity, self.settings, self.account.to_json()),
                pace=self.pace,
            )
            self.account.write(self.folder.data_report)
            self._written = now
        self._drop_oldest()
        return place

    def finish(self) -> None:
        """Put the model at the root: the best checkpoint's where load_best_model_at_end asks for it, else as it is."""
        self.account.write(self.folder.data_report)
        best = self.state.best_step
        source = self.folder.checkpoint(best) if best is not None and self.training.load_best_model_at_end else None
        final = self.folder.path / "final"
        with writing_folder(final) as draft:
            if source is not None and source.exists():
                shutil.copytree(source, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns(TRAINER))
                log.info(f"the final model is the best one, of step {best}")
            else:
                self.write_model(draft)
        move_files(final, self.folder.path)
        final.rmdir()

    def _drop_oldest(self) -> None:
        """The newest and the best one are never deleted."""
        limit = self.training.save_total_limit
        if limit is None:
            return
        steps = self.folder.checkpoint_steps()
        droppable = [step for step in steps if step not in (self.state.step, self.state.best_step)]
        for step in droppable[: max(0, len(steps) - limit)]:
            remove_folder(self.folder.checkpoint(step))
