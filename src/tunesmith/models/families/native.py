"""Models that transformers has a class for, and what its older releases got wrong in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import __version__ as transformers_version

from tunesmith import log


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The release (major, minor) that mended a class, and what was wrong before."""

    release: tuple[int, int]
    fault: str


_FIXED: Mapping[str, _Fixed] = {
    "minicpmv4_6": _Fixed((5, 19), "takes every picture and slice of a batch to be as large as the first"),
}


def warn_of_old_release(model_type: object, *, version: str = transformers_version) -> None:
    """Say once where this transformers is known to compute a model of `model_type` wrongly."""
    fixed = _FIXED.get(str(model_type))
    if fixed is not None and _release(version) < fixed.release:
        newer = ".".join(map(str, fixed.release))
        log.note_once(f"transformers {version} {fixed.fault}: pip install -U 'transformers>={newer}'")


def _release(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
