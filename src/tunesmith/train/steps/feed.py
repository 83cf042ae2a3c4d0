"""The micro-batches of every step, from any step on, without making those before it.

Order is a function of seed and epoch, a batch one of its rows: a resumed run is fed what the run never stopped was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tunesmith.config.training import TrainingSettings
from tunesmith.data.collate import Batch, Collator
from tunesmith.data.encoded import Encoded
from tunesmith.data.loader import BatchLoader, build_loader, epoch_order
from tunesmith.train.steps.plan import StepPlan


@dataclass(frozen=True, slots=True)
class Feed:
    """Training examples cut into steps. `pin_memory` where batches go to a GPU."""

    examples: Sequence[Encoded]
    collator: Collator
    plan: StepPlan
    training: TrainingSettings
    pin_memory: bool = False

    def steps(self, first_step: int) -> Iterator[list[Batch]]:
        """Micro-batches of `first_step` (from 0) and every later step of the plan."""
        step = first_step
        while step < self.plan.total_steps:
            epoch, first_batch = self.plan.locate(step)
            micro_batches = iter(self._loader(epoch, first_batch))
            while batches := list(islice(micro_batches, self.plan.accumulation)):
                yield batches
                step += 1
                if step == self.plan.total_steps:
                    return

    def _loader(self, epoch: int, first_batch: int) -> BatchLoader:
        seed = self.training.seed if self.training.data_seed is None else self.training.data_seed
        order = epoch_order(len(self.examples), seed, epoch, not self.training.disable_shuffling)
        return loader_over(
            self.examples,
            self.collator,
            order,
            training=self.training,
            batch_size=self.plan.batch_size,
            first_batch=first_batch,
            pin_memory=self.pin_memory,
        )


def loader_over(
    examples: Sequence[Encoded],
    collator: Collator,
    order: Sequence[int],
    *,
    training: TrainingSettings,
    batch_size: int,
    first_batch: int = 0,
    pin_memory: bool = False,
) -> BatchLoader:
    """A loader with the workers that the settings ask for."""
    return build_loader(
        examples,
        collator,
        order,
        batch_size=batch_size,
        first_batch=first_batch,
        num_workers=training.dataloader_num_workers,
        prefetch_factor=training.dataloader_prefetch_factor,
        pin_memory=pin_memory and training.dataloader_pin_memory,
    )
