"""Folders and files that are there whole or not at all, whatever kills the process meanwhile.

They are written beside their place, flushed to the disk, and renamed. A full disk becomes a RunError, and what was
there before stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tunesmith.errors import ModelError, RunError

_WRITING = ".writing-"
_REMOVING = ".removing-"
_CONFIGS = frozenset({"config.json", "adapter_config.json"})


@contextmanager
def writing_folder(final: Path) -> Iterator[Path]:
    """Yields an empty folder to write into, which becomes `final` at the end; an older `final` is replaced.

    If writing fails it is removed. Raises RunError where the disk refuses.
    """
    draft = draft_of(final)
    _remove(draft)
    try:
        with explained(final):
            draft.mkdir(parents=True)
            yield draft
            _flush(draft)
            if final.exists():
                remove_folder(final)
            draft.rename(final)
            _flush_entry(final.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_text(file: Path, text: str) -> None:
    """Write `file` so that a reader sees the old text or the new one, never half of it."""
    draft = draft_of(file)
    with explained(file):
        try:
            with draft.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def move_files(source: Path, target: Path) -> None:
    """Move every file of `source` into `target`, replacing files of the same name one by one.

    Configs come last: by them others know a model, so none is seen before its weights are there.
    """
    with explained(target):
        files = (path for path in source.rglob("*") if path.is_file())
        for file in sorted(files, key=lambda path: (path.name in _CONFIGS, path)):
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
        _flush_entry(target)


def remove_folder(folder: Path) -> None:
    """Delete a folder in such a way that it never stands there half deleted."""
    doomed = folder.with_name(_REMOVING + folder.name)
    with explained(folder):
        folder.rename(doomed)
        shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written or half deleted in `folder`."""
    for prefix in (_WRITING, _REMOVING):
        for leftover in folder.glob(f"{prefix}*"):
            _remove(leftover)


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what libraries raise when a disk is full or a folder read-only into a RunError that names `target`."""
    try:
        yield
    except RunError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = error.__cause__ if isinstance(error, ModelError) and error.__cause__ else error
        raise RunError(f"{target} cannot be written: {reason}{_space(target)}") from error


def _space(target: Path) -> str:
    try:
        existing = next(folder for folder in target.absolute().parents if folder.exists())
        free_gb = shutil.disk_usage(existing).free / 1e9
    except OSError:
        return ""
    return f" ({free_gb:.1f} GB free there; save_total_limit and save_only_model make checkpoints take less)"


def draft_of(final: Path) -> Path:
    """Where `writing_folder` writes before the folder is whole."""
    return final.with_name(_WRITING + final.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Ask the system to put every file of `folder` on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    _flush_entry(folder)


def _flush_entry(folder: Path) -> None:
    if os.name == "posix":  # folders cannot be opened elsewhere
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
