"""One process at a time in a run folder.

The lock is the system's own and goes with its process, however that ends; processes forked from it (a loader's
workers) do not hold it. On systems and file systems without such locks nothing is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tunesmith.errors import RunError
from tunesmith.train.folder.atomic import explained

_LOCK = ".lock"


@contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Hold `folder`, created if absent. Raises RunError if another process does, or if it cannot be written."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+", encoding="ascii")
    with file:
        _take(file, folder)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            (folder / _LOCK).unlink(missing_ok=True)


def refuse_busy(folder: Path) -> None:
    """Raise RunError if another process holds `folder`.

    Not for a process that holds it itself: closing the file here would let its lock go (POSIX).
    """
    if (folder / _LOCK).exists():
        with (folder / _LOCK).open("a+", encoding="ascii") as file:
            _take(file, folder)


def _take(file: TextIO, folder: Path) -> None:
    if os.name != "posix":
        return
    import fcntl  # absent elsewhere

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise RunError(
            f"another process ({file.read().strip() or 'its number is not known'}) trains in {folder}; wait for it, "
            "stop it, or choose another output_dir"
        ) from None
    except OSError:
        return  # a file system that cannot lock
