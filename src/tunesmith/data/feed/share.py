"""Which micro-batches of a step are made by which process.

All processes plan the same micro-batches in the same order; number i of a step belongs to process i modulo their
number. Knows nothing of rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What process `rank` of `num_processes` makes.

    per_step:   micro-batches of a step, over all processes; an epoch's last step has what is left. None: a step is all
                of an epoch, as where rows are only gone through
    lockstep:   whether all processes run as many micro-batches
    same_media: in lockstep, whether they do so at each turn with the same kinds of media
    """

    rank: int = 0
    num_processes: int = 1
    per_step: int | None = None
    lockstep: bool = False
    same_media: bool = True

    def has(self, number: int) -> bool:
        """Whether micro-batch `number` of a step is this process's own."""
        return number % self.num_processes == self.rank
