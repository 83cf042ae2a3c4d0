"""progress.json: where a run was when a checkpoint was written, what it must have in common with a run that goes on
from there, and what the rest of the checkpoint must prove to be.

Knows nothing of tensors; its own content is proven by a digest that stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import RunError
from tunesmith.train.checkpoint.fingerprint import Fingerprint, digest_of
from tunesmith.train.folder.atomic import write_text
from tunesmith.train.steps.state import TrainState

TRAINER = "trainer"
"""Name of the trainer's part of a checkpoint."""
_PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint holds beside weights and optimiser.

    state:       place and counters
    identity:    what a resumed run must have in common with this one
    settings:    flat, for telling what else changed
    report:      the state of the data report
    fingerprint: of what else the checkpoint holds; None where no engine of ours wrote it (GRPO)
    """

    state: TrainState
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    fingerprint: Fingerprint | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        content: dict[str, Any] = {
            "state": self.state.to_json(),
            "identity": dict(self.identity),
            "settings": dict(self.settings),
            "report": dict(self.report),
        }
        if self.fingerprint is not None:
            content["fingerprint"] = self.fingerprint.to_json()
        return content


def write_progress(progress: Progress, trainer: Path) -> None:
    """Into a checkpoint's trainer part."""
    content = json.loads(json.dumps(progress.to_json()))  # as a reader has it: no tuples, only words as keys
    content["position"] = position_digest(content)
    write_text(trainer / _PROGRESS, json.dumps(content, indent=1, ensure_ascii=False))


def read_progress(folder: Path) -> Progress:
    """The progress of a checkpoint. Raises RunError where `folder` is none, or none that can be resumed."""
    if not folder.is_dir():
        raise RunError(f"resume_from_checkpoint: {folder} is not a folder; give a checkpoint folder, or true")
    file = folder / TRAINER / _PROGRESS
    if not file.exists():
        raise RunError(
            f"resume_from_checkpoint: {folder} has no trainer state of Tunesmith (it was saved with save_only_model, "
            "or by another tool), so the run cannot go on from it. To start a new run from its weights, give it as "
            "adapter_name_or_path (an adapter) or model_name_or_path (a model)"
        )
    content = _read(file)
    if "report" not in content:
        raise RunError(
            f"resume_from_checkpoint: {folder} was written by an earlier version of Tunesmith that ordered rows "
            "otherwise, so the run cannot go on exactly. Start a new run from its weights"
        )
    try:
        fingerprint = content.get("fingerprint")
        return Progress(
            TrainState.from_json(content["state"]),
            content["identity"],
            content["settings"],
            content["report"],
            None if fingerprint is None else Fingerprint.from_json(fingerprint),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error


def position_digest(content: Mapping[str, Any]) -> str:
    """Of everything in progress.json that decides how the run goes on."""
    return digest_of({key: content.get(key) for key in ("state", "identity", "report")})


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if "position" in content and content["position"] != position_digest(content):
        raise _damaged(file, "its position is not the one that was written")
    return content


def _damaged(file: Path, reason: str) -> RunError:
    return RunError(
        f"{file} is damaged ({reason}); resume from an earlier checkpoint: resume_from_checkpoint: "
        f"{file.parent.parent.parent}/step-N"
    )
