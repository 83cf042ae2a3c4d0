"""The run folder: where everything a run knows is written, and whether a folder may become one.

What lies where is the contract in DESIGN.md. Knows nothing of tensors.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import RunError, UsageError

_OTHERS_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_OWN_CHECKPOINT = re.compile(r"step-(\d+)")
_WEIGHTS = ("adapter_model.*", "model.safetensors*", "model-*-of-*.safetensors", "pytorch_model*.bin*")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside `output_dir`."""

    path: Path

    @property
    def settings(self) -> Path:
        """run.yaml: the resolved settings, without secrets; it can be run again."""
        return self.path / "run.yaml"

    @property
    def manifest(self) -> Path:
        """manifest.json: versions, command, fingerprints."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl: a line a log step, a line an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def data_report(self) -> Path:
        """data_report.json: what was read, dropped and cut."""
        return self.path / "data_report.json"

    @property
    def samples(self) -> Path:
        """samples.jsonl: answers to sample_prompts."""
        return self.path / "samples.jsonl"

    @property
    def status(self) -> Path:
        """status.json: what the run does, or how it ended. No trace of a run: a start that failed leaves it too."""
        return self.path / "status.json"

    @property
    def log(self) -> Path:
        """log.txt: what a run of `train --detach` said."""
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """Holds step-N folders."""
        return self.path / "checkpoints"

    @property
    def loss_plot(self) -> Path:
        """training_loss.png."""
        return self.path / "training_loss.png"

    @property
    def fits(self) -> Path:
        """fits.json: how large micro-batches may be, where some were too large for memory."""
        return self.path / "fits.json"

    @property
    def bad_batches(self) -> Path:
        """Holds step-N-rank-R folders: micro-batches whose loss was not finite, or far from the run's."""
        return self.path / "bad_batches"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint folder of `step`."""
        return self.checkpoints / f"step-{step}"

    def checkpoint_steps(self) -> list[int]:
        """Steps of the complete checkpoints, lowest first."""
        return sorted(_numbered(self.checkpoints, _OWN_CHECKPOINT))

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; LLaMA-Factory's checkpoint-N folders count where there are none of ours."""
        if steps := self.checkpoint_steps():
            return self.checkpoint(steps[-1])
        if steps := sorted(_numbered(self.path, _OTHERS_CHECKPOINT)):
            return self.path / f"checkpoint-{steps[-1]}"
        return None

    def refuse_unwritable(self) -> None:
        """Raises UsageError if `path` is, or lies below, a file or a folder that may not be written to."""
        place = self.path.absolute()
        existing = next(step for step in (place, *place.parents) if step.exists())
        if not existing.is_dir():
            raise UsageError(f"output_dir {self.path}: {existing} is a file; choose a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise UsageError(f"output_dir {self.path}: {existing} may not be written to; choose another folder")

    def refuse_foreign_run(self) -> None:
        """Raises RunError if a run, or a trained model, stands here already."""
        if traces := [trace for trace in self._traces() if trace != self.data_report]:  # a data check may precede a run
            raise RunError(
                f"output_dir {self.path} already holds a run ({', '.join(trace.name for trace in traces[:3])}). "
                "Go on with it by resume_from_checkpoint: true, delete it by overwrite_output_dir: true, or choose "
                "another output_dir"
            )

    def clear(self) -> None:
        """Delete the run that stands here; another tool's checkpoint-N folders and files that no run writes stay."""
        for trace in self._traces():
            if _OTHERS_CHECKPOINT.fullmatch(trace.name):
                continue
            shutil.rmtree(trace) if trace.is_dir() else trace.unlink()

    def set_aside_after(self, step: int) -> list[Path]:
        """Rename checkpoints later than `step` to old-step-N, so that they are not taken for this run's."""
        aside = []
        for later in (found for found in self.checkpoint_steps() if found > step):
            old = self.checkpoints / f"old-step-{later}"
            shutil.rmtree(old, ignore_errors=True)
            aside.append(self.checkpoint(later).rename(old))
        return aside

    def _traces(self) -> list[Path]:
        own = [self.settings, self.manifest, self.metrics, self.data_report, self.samples, self.loss_plot]
        own += [self.checkpoints, self.bad_batches, self.path / "adapter_config.json", self.path / "tensorboard"]
        others = [self.path / f"checkpoint-{step}" for step in sorted(_numbered(self.path, _OTHERS_CHECKPOINT))]
        weights = [file for pattern in _WEIGHTS for file in sorted(self.path.glob(pattern))]
        return [trace for trace in (*own, *others, *weights) if trace.exists()]


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    names = (entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else iter(())
    return [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
