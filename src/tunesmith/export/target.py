"""The folder an export is written to: complete or not there at all.

Everything is written into a hidden folder beside it, which takes its name once it is finished and verified.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tunesmith.errors import RunError, UsageError

RECORD = "tunesmith_export.json"
"""Says of a folder that it is an export, of what, and how it was verified."""


def check_target(target: Path, *, sources: tuple[Path, ...], copied: Path, overwrite: bool, needed_bytes: int) -> None:
    """Raise UsageError if `target` may not be written, RunError if the disk is too small.

    `sources` are read and must not be replaced; `copied` is the one of which every file goes along.
    """
    if target.resolve().is_relative_to(copied.resolve()):
        raise UsageError(f"export_dir {target} lies in {copied}, which is copied; choose a folder outside it")
    for source in sources:
        if source.resolve().is_relative_to(target.resolve()):
            raise UsageError(f"export_dir {target} holds {source}, which the export reads; choose another folder")
    if target.exists() and not target.is_dir():
        raise UsageError(f"export_dir {target} is a file; choose a folder")
    if target.is_dir() and any(target.iterdir()) and not _may_replace(target, overwrite=overwrite):
        raise UsageError(
            f"export_dir {target} is not empty and no earlier export; choose another folder"
            + ("" if overwrite else ", or set overwrite_output_dir: true to replace a model there")
        )
    free_bytes = shutil.disk_usage(_existing_parent(target)).free
    if free_bytes < needed_bytes:
        raise RunError(
            f"the export needs about {needed_bytes / 1e9:.1f} GB and {_existing_parent(target)} has "
            f"{free_bytes / 1e9:.1f} GB free; free some, or set export_dir to another disk"
        )


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` on leaving; after an error nothing of it is left.

    Raises RunError where a file cannot be written.
    """
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, target)
    except (OSError, SafetensorError) as error:
        raise RunError(f"writing to {target} failed: {error}; nothing was kept of it") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write what the export was made from beside the weights."""
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _may_replace(target: Path, *, overwrite: bool) -> bool:
    # A folder that is no model at all is never deleted, whatever the setting: it may be somebody's home.
    return (target / RECORD).is_file() or (overwrite and (target / "config.json").is_file())


def _swap(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.resolve().parents if parent.is_dir())
