"""Places of runs, for tests of what is due where."""

from __future__ import annotations

from tunesmith.train.steps.place import Place


def place(step: int, *, epoch: int = 0, rows: int = 0, ends_epoch: bool = False) -> Place:
    """The place after `step` steps."""
    return Place(step=step, epoch=epoch, rows=rows, ends_epoch=ends_epoch)


def place_of_epochs(step: int, *, steps_per_epoch: int) -> Place:
    """The place after `step` steps of one row each, in epochs of so many."""
    if step == 0:
        return Place()
    epoch, before = divmod(step - 1, steps_per_epoch)
    return place(step, epoch=epoch, rows=before + 1, ends_epoch=before + 1 == steps_per_epoch)
