"""Where a conversion may write: a folder that is not there yet, or is empty."""

from __future__ import annotations

from pathlib import Path

from tunesmith.errors import UsageError


def check_output(output: Path) -> None:
    """Raise UsageError where something stands in the way."""
    if output.is_file():
        raise UsageError(f"{output} is a file; give a folder to write into")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty; give a new folder, or empty it first")
