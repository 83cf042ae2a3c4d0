"""What a process does that is started again: it goes on from the run's last checkpoint, whatever run.yaml says.

Attempt 0 does what the settings say. Later ones must not take a run for theirs that stood in output_dir before, and
must not stumble over what the killed attempt left there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith.config.settings import Settings

_MARK = "begun"
_MANIFEST = "manifest.json"
_FINISHED = ("adapter_config.json", "config.json")


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in output_dir when an attempt begins.

    is_ours:        the run was begun by this launch, not before it
    is_finished:    its final model is there
    has_checkpoint: one of its own
    """

    is_ours: bool
    is_finished: bool
    has_checkpoint: bool


def settings_of_attempt(settings: Settings, attempt: int, found: Found) -> Settings:
    """The settings that this attempt trains by.

    With a checkpoint of this run it goes on from that. Without one it begins as the first attempt did (from another
    run's checkpoint, if it was told to) and writes over what the killed one left; a finished model is never lost so.
    """
    training = settings.training
    if attempt == 0:
        return settings
    if found.has_checkpoint and (found.is_ours or training.resume_from_checkpoint is True):
        changes: dict[str, object] = {"resume_from_checkpoint": True}
    elif found.is_finished:
        return settings
    else:
        elsewhere = training.resume_from_checkpoint if isinstance(training.resume_from_checkpoint, str) else None
        changes = {"resume_from_checkpoint": elsewhere, "overwrite_output_dir": True}
    return settings.model_copy(update={"training": training.model_copy(update=changes)})


def look_into(output_dir: Path, *, has_checkpoint: bool) -> Found:
    """What stands there. Times are compared of files on the same disk: clocks of hosts may differ."""
    mark, manifest = output_dir / "logs" / _MARK, output_dir / _MANIFEST
    begun = manifest.exists() and (not mark.exists() or manifest.stat().st_mtime_ns >= mark.stat().st_mtime_ns)
    return Found(begun, any((output_dir / name).exists() for name in _FINISHED), has_checkpoint)


def mark_beginning(logs: Path) -> None:
    """Leave the time at which this launch began. Raises OSError where nothing can be written."""
    logs.mkdir(parents=True, exist_ok=True)
    mark = logs / _MARK
    mark.unlink(missing_ok=True)
    mark.touch()
