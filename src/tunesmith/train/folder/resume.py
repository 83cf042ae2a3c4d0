"""Which checkpoint a run goes on from, and making the run folder what it was at that step."""

from __future__ import annotations

from pathlib import Path

from tunesmith import log
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import RunError
from tunesmith.train.folder.atomic import explained, remove_leftovers
from tunesmith.train.folder.json_lines import cut_after_step
from tunesmith.train.folder.run_folder import RunFolder


def find_checkpoint(training: TrainingSettings, folder: RunFolder) -> Path | None:
    """`resume_from_checkpoint` as a folder; None for a new run. Raises RunError where there is no checkpoint."""
    wanted = training.resume_from_checkpoint
    if not wanted:
        return None
    if isinstance(wanted, str):
        return Path(wanted)
    last = folder.last_checkpoint()
    if last is None:
        raise RunError(
            f"resume_from_checkpoint: true, but {folder.path} holds no complete checkpoint. Start the run anew: leave "
            "resume_from_checkpoint out (and set overwrite_output_dir: true if the folder holds a run)"
        )
    return last


def require_place(training: TrainingSettings, folder: RunFolder, checkpoint: Path | None) -> None:
    """Whether the run may be written there.

    Raises UsageError if it cannot be written to, RunError if it holds a run neither resumed nor to be overwritten.
    """
    folder.refuse_unwritable()
    if not goes_on_in(folder, checkpoint) and not training.overwrite_output_dir:
        folder.refuse_foreign_run()


def goes_on_in(folder: RunFolder, checkpoint: Path | None) -> bool:
    """Whether `checkpoint` is one of the run in `folder`, rather than of a run elsewhere."""
    return checkpoint is not None and checkpoint.resolve().parent == folder.checkpoints.resolve()


def open_folder(folder: RunFolder, *, checkpoint: Path | None, step: int) -> None:
    """Create the folder, or bring it back to `step`, or clear what is to be overwritten."""
    if goes_on_in(folder, checkpoint):
        cut_after_step(folder.metrics, step)
        cut_after_step(folder.samples, step)
        if aside := folder.set_aside_after(step):
            log.info(f"later checkpoints were set aside: {', '.join(place.name for place in aside)}")
    else:
        folder.clear()
    with explained(folder.path):
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    for place in (folder.path, folder.checkpoints):
        remove_leftovers(place)
