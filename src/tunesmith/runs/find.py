"""Run folders below a folder, found fast or not at all: how deep, how wide and how long is looked is bounded."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.errors import RunError, UsageError

_INSIDE_A_RUN = re.compile(r"checkpoints|(old-)?(checkpoint|step)-\d+|logs|tensorboard|node_modules|__pycache__")
_BEGUN = ("manifest.json", "metrics.jsonl")


@dataclass(frozen=True, slots=True)
class Bounds:
    """depth:   folders below the given one
    folders: to look into, in all
    entries: of one folder; one with more is data, and is left
    seconds: in all
    """

    depth: int = 6
    folders: int = 5_000
    entries: int = 2_000
    seconds: float = 2.0


@dataclass(slots=True)
class Found:
    """Run folders; folders with too many entries, and those that may not be read; how far the search came if it was
    cut short.
    """

    runs: list[Path] = field(default_factory=list)
    crowded: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    cut_short: str | None = None

    def gaps(self) -> list[str]:
        """Why there may be more runs."""
        gaps = [self.cut_short] if self.cut_short else []
        for folders, reason in ((self.crowded, "with too many entries"), (self.unreadable, "that cannot be read")):
            if folders:
                gaps.append(f"{_count(folders)} {reason} left out: {folders[0]}{', …' * (len(folders) > 1)}")
        return gaps


@dataclass(frozen=True, slots=True)
class _Contents:
    is_run: bool
    folders: tuple[Path, ...]


def find_runs(places: Iterable[Path], bounds: Bounds | None = None) -> Found:
    """Runs in and below `places`; hidden folders, checkpoints and links are not entered.

    Raises UsageError for a place that is no folder.
    """
    bounds = bounds or Bounds()
    found = Found()
    waiting = deque((_require_folder(place), 0) for place in places)
    end = time.monotonic() + bounds.seconds
    looked = 0
    while waiting:
        if looked == bounds.folders or time.monotonic() > end:
            found.cut_short = f"looked into {looked:,} folders, as far as {waiting[0][0]}; name a folder to see more"
            break
        folder, depth = waiting.popleft()
        looked += 1
        contents = _look_into(folder, bounds, found)
        if contents.is_run:
            found.runs.append(folder)
        if depth < bounds.depth:
            waiting.extend((inner, depth + 1) for inner in contents.folders)
    found.runs = list(dict.fromkeys(found.runs))
    return found


def is_run(folder: Path) -> bool:
    """Whether a run has begun to write there."""
    if (folder / "status.json").exists():
        return True
    return (folder / "run.yaml").exists() and any((folder / name).exists() for name in _BEGUN)


def require_run(folder: Path) -> Path:
    """The folder itself. Raises UsageError where there is none, RunError where it holds no run."""
    if not is_run(_require_folder(folder)):
        raise RunError(f"{folder} holds no run (no status.json, no run.yaml); `tunesmith runs` lists those there are")
    return folder


def _count(folders: list[Path]) -> str:
    return "1 folder" if len(folders) == 1 else f"{len(folders):,} folders"


def _require_folder(place: Path) -> Path:
    if not place.is_dir():
        reason = "is a file" if place.exists() else "does not exist"
        raise UsageError(f"{place} {reason}; name a folder (`tunesmith runs` lists the runs below this one)")
    return place


def _look_into(folder: Path, bounds: Bounds, found: Found) -> _Contents:
    inner: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number == bounds.entries:
                    found.crowded.append(folder)
                    inner.clear()
                    break
                if _is_worth_a_look(entry):
                    inner.append(Path(entry.path))
    except FileNotFoundError:  # deleted meanwhile
        return _Contents(is_run=False, folders=())
    except OSError:
        found.unreadable.append(folder)
        return _Contents(is_run=False, folders=())
    return _Contents(is_run(folder), tuple(sorted(inner)))


def _is_worth_a_look(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or _INSIDE_A_RUN.fullmatch(entry.name):
        return False
    return entry.is_dir(follow_symlinks=False)
