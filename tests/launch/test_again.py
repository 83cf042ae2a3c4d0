"""What a process that is started again trains by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunesmith.config.read import load_settings_from
from tunesmith.launch.again import Found, look_into, mark_beginning, settings_of_attempt

NOTHING = Found(is_ours=False, is_finished=False, has_checkpoint=False)
OURS = Found(is_ours=True, is_finished=False, has_checkpoint=True)
OLD = Found(is_ours=False, is_finished=False, has_checkpoint=True)
OLD_AND_DONE = Found(is_ours=False, is_finished=True, has_checkpoint=True)


@pytest.mark.parametrize(
    ("attempt", "found", "given", "resumes", "overwrites"),
    [
        (0, OURS, None, None, False),
        (1, OURS, None, True, False),
        (1, OURS, "elsewhere/step-8", True, False),
        (1, NOTHING, None, None, True),
        (1, NOTHING, True, None, True),
        (1, NOTHING, "elsewhere/step-8", "elsewhere/step-8", True),
        (1, OLD, None, None, True),
        (1, OLD, True, True, False),
        (1, OLD_AND_DONE, None, None, False),
    ],
)
def test_a_later_attempt_goes_on_from_this_runs_checkpoint(
    attempt: int, found: Found, given: str | bool | None, resumes: str | bool | None, overwrites: bool
) -> None:
    training = settings_of_attempt(load_settings_from({"resume_from_checkpoint": given}), attempt, found).training
    assert (training.resume_from_checkpoint, training.overwrite_output_dir) == (resumes, overwrites)


def test_a_run_is_this_launchs_if_its_manifest_is_younger(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    assert look_into(tmp_path, has_checkpoint=False) == NOTHING
    manifest.touch()
    assert look_into(tmp_path, has_checkpoint=True) == OURS  # nobody left a mark: a scheduler's own restart
    os.utime(manifest, (1, 1))
    mark_beginning(tmp_path / "logs")
    assert look_into(tmp_path, has_checkpoint=True) == OLD
    (tmp_path / "adapter_config.json").touch()
    assert look_into(tmp_path, has_checkpoint=True) == OLD_AND_DONE
    os.utime(tmp_path / "logs" / "begun", (1, 1))
    manifest.touch()
    assert look_into(tmp_path, has_checkpoint=True).is_ours
