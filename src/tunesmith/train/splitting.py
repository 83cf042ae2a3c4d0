"""What splits a run's micro-batches, in steps and in evaluations, and where it is written down what fits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tunesmith.config.settings import Settings
from tunesmith.train.folder.fits_file import FitsFile
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.memory_advice import advice_for_one_sample, circumstances
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.setup import wants_checkpointing
from tunesmith.train.steps.fits import Fits
from tunesmith.train.steps.portions import Splitter


@dataclass(frozen=True, slots=True)
class Splitters:
    """One for steps and one for evaluations, which keep less in memory."""

    file: FitsFile
    training: Splitter
    evaluation: Splitter

    def keep(self) -> None:
        """Write down what fits. Raises RunError where the disk refuses."""
        self.file.write(training=self.training.fits, evaluation=self.evaluation.fits)


def build_splitters(settings: Settings, folder: RunFolder, *, parallel: Parallel, device: torch.device) -> Splitters:
    """The splitters of a run, which know what was found to fit before. Their `split` is set once there are pipelines.

    For all processes together.
    """
    checkpoints = wants_checkpointing(settings, device)
    surroundings = circumstances(settings, parallel=parallel, device=device, checkpoints=checkpoints)
    file = FitsFile(folder.fits, surroundings)
    told = parallel.gather((file.read("training"), file.read("evaluation")))
    training, evaluation = (_merged(fits) for fits in zip(*told, strict=True))

    def build(fits: Fits) -> Splitter:
        return Splitter(
            rank=parallel.rank,
            lockstep=parallel.lockstep,
            may_split=settings.parallel.on_oom == "split",
            advice=advice_for_one_sample(settings, checkpoints=checkpoints),
            fits=fits,
        )

    splitters = Splitters(file, build(training), build(evaluation))
    for splitter in (splitters.training, splitters.evaluation):
        splitter.keep_fits = splitters.keep
    return splitters


def _merged(several: tuple[Fits, ...]) -> Fits:
    merged = Fits()
    for size in (size for fits in several for size in fits.sizes):
        merged.learn(size)
    return merged
