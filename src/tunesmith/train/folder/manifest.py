"""manifest.json: what a run was made with, so that it can be repeated and told apart from others."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tunesmith import env
from tunesmith.config.overrides import hide_secrets
from tunesmith.train.determinism import describe_determinism
from tunesmith.train.folder.atomic import write_text

_PACKAGES = (
    *("tunesmith", "torch", "transformers", "peft", "safetensors", "datasets", "numpy", "pillow", "bitsandbytes"),
    "trl",
)


def build_manifest(*, identity: Mapping[str, Any], device: torch.device, resumed_from: Path | None) -> dict[str, Any]:
    """Versions, command line (secrets hidden), git commit of the working folder, device, what two runs share bit
    for bit, fingerprints and seed."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": hide_secrets(sys.argv),
        "versions": {"python": platform.python_version(), **_versions()},
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "num_processes": env.world_size(),
        "determinism": describe_determinism(device, num_processes=env.world_size()),
        "identity": dict(identity),
        "resumed_from": str(resumed_from) if resumed_from else None,
    }


def write_manifest(file: Path, manifest: Mapping[str, Any]) -> None:
    """Write it; a resumed run keeps what stood there under `earlier`."""
    content = dict(manifest)
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        content["earlier"] = [*before.pop("earlier", []), before]
    write_text(file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def note_in_manifest(file: Path, **notes: Any) -> None:
    """Add to what stands there of this start of the run. Raises RunError where it cannot be written."""
    content = json.loads(file.read_text(encoding="utf-8"))
    write_text(file, json.dumps({**content, **notes}, ensure_ascii=False, indent=1) + "\n")


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """The commit of the repository the command was started in, with "+" if its tracked files were changed."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    finished = subprocess.run(("git", *arguments), capture_output=True, text=True, timeout=10, check=True)
    return finished.stdout.strip()
