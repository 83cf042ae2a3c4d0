"""Keeps a run's checkpoints: has them written, at once or while the training goes on, deletes the oldest, and puts the
final model at the run folder's root.

Everything public is for all processes together. What a checkpoint holds and how it is written is `checkpoint`'s matter.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist

from tunesmith import log
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import TunesmithError
from tunesmith.train.account import RowAccount
from tunesmith.train.checkpoint.background import BackgroundWriter
from tunesmith.train.checkpoint.draft import Draft, WriteModel, take_draft
from tunesmith.train.checkpoint.progress import TRAINER, Progress
from tunesmith.train.checkpoint.take import State, take_model
from tunesmith.train.checkpoint.write import write_alone, write_together
from tunesmith.train.folder.atomic import move_files, remove_folder, writing_folder
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.parallel.together import on_first, raise_first
from tunesmith.train.steps.feed import FedStep
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import Stepper

_LONG_WAIT_S = 1.0
"""A wait for the checkpoint before that is worth a word."""


@dataclass(slots=True)
class Keeper:
    """`write_model` writes model or adapter, with its tokenizer, into a folder. `in_background`: see
    save_in_background."""

    folder: RunFolder
    training: TrainingSettings
    stepper: Stepper
    state: TrainState
    write_model: WriteModel
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    account: RowAccount
    pace: Pace | None = None
    in_background: bool = False
    _written: tuple[int, int] | None = field(default=None, init=False)
    _writer: BackgroundWriter = field(default_factory=BackgroundWriter, init=False)
    _group: dist.ProcessGroup | None = field(default=None, init=False)

    @property
    def problem(self) -> TunesmithError | None:
        """What writing in the background has failed with in this process; the run must end with it."""
        return self._writer.problem

    def save(self, following: FedStep | None = None) -> Path:
        """Write the checkpoint of the state's step, unless just done, then delete what is over the limit.

        following: what the next step takes here

        Raises RunError where this one or the one before cannot be written. In the background it is still being written
        when this returns (`settle`).
        """
        place = self.folder.checkpoint(self.state.step)
        now = (self.state.step, self.state.settled_step)
        if self._written != now:
            _tell_wait(self.settle())
            draft = self._take(following)
            on_first(self._parallel, partial(self.account.write, self.folder.data_report))
            self._have_written(place, draft)
            self._written = now
        return place

    def settle(self) -> float:
        """Wait until everything is written; the seconds waited. Raises RunError where it cannot be."""
        waited_s = self._writer.settle()
        raise_first(self._parallel, self._writer.problem)
        return waited_s

    def close(self) -> None:
        """Wait for what is still being written, whatever comes of it. By each process for itself."""
        self._writer.settle()

    def finish(self) -> None:
        """Put the model at the root: the best checkpoint's where load_best_model_at_end asks for it, else as it is."""
        self.settle()
        on_first(self._parallel, self._drop_left_behind)
        best = self._best_checkpoint()
        model = take_model(self.stepper, copied=False) if best is None else None
        on_first(self._parallel, partial(self._put_at_root, best, model))

    @property
    def _parallel(self) -> Parallel:
        return self.stepper.parallel

    def _take(self, following: FedStep | None) -> Draft:
        progress = Progress(self.state, self.identity, self.settings, self.account.to_json())
        return take_draft(
            self.stepper,
            None if self.training.save_only_model else progress,
            write_model=self.write_model,
            pace=self.pace,
            following=following,
            copied=self.in_background,
        )

    def _have_written(self, place: Path, draft: Draft) -> None:
        """Now, or in the background; by all processes where each writes a part, else by the first."""
        is_shared = draft.part is not None and draft.part.is_shared
        write = (
            partial(write_together, place, draft, self._writers()) if is_shared else partial(write_alone, place, draft)
        )
        job = partial(self._write_and_drop, write, self._droppable())
        if not self.in_background:
            job() if is_shared else on_first(self._parallel, job)
        elif is_shared or self._parallel.rank == 0:
            self._writer.start(job, name=str(place))

    def _writers(self) -> dist.ProcessGroup:
        """The processes in a group of their own, which no step uses while they write."""
        if self._group is None:
            made = dist.new_group(backend="gloo")
            assert isinstance(made, dist.ProcessGroup), "every process is one of them"
            self._group = made
        return self._group

    def _write_and_drop(self, write: Callable[[], None], droppable: Sequence[Path]) -> None:
        write()
        if self._parallel.rank == 0:
            for folder in droppable:
                remove_folder(folder)

    def _droppable(self) -> list[Path]:
        """What is over save_total_limit once this step's checkpoint is there: never it, and never the best one."""
        limit = self.training.save_total_limit
        if limit is None or self._parallel.rank > 0:
            return []
        steps = sorted({*self.folder.checkpoint_steps(), self.state.step})
        kept = (self.state.step, self.state.best_step)
        return [self.folder.checkpoint(step) for step in steps if step not in kept][: max(0, len(steps) - limit)]

    def _drop_left_behind(self) -> None:
        """Of a run killed between its last checkpoint and this, nothing else would go."""
        if self.folder.checkpoint(self.state.step).exists():
            for folder in self._droppable():
                remove_folder(folder)

    def _best_checkpoint(self) -> Path | None:
        """Where the final model is, if it is not the one in memory. The first process looks for all."""
        best = self.state.best_step
        if best is None or not self.training.load_best_model_at_end:
            return None
        place = self.folder.checkpoint(best)
        return place if self._parallel.gather(place.exists())[0] else None

    def _put_at_root(self, best: Path | None, model: State | None) -> None:
        self.account.write(self.folder.data_report)
        final = self.folder.path / "final"
        with writing_folder(final) as draft:
            if best is not None:
                shutil.copytree(best, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns(TRAINER))
                log.info(f"the final model is the best one, of step {self.state.best_step}")
            else:
                self.write_model(draft, model)
        move_files(final, self.folder.path)
        final.rmdir()


def _tell_wait(seconds: float) -> None:
    if seconds > _LONG_WAIT_S:
        log.note_once(
            f"a checkpoint waited {seconds:.0f} s until the one before was written; a larger save_steps, "
            "save_only_model or a faster disk saves the wait"
        )
