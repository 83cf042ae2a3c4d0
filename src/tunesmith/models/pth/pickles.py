"""One pickled file of torch's, read without running anything that it asks for.

Only tensors and plain containers are built (`weights_only`). What mmengine, DeepSpeed and NumPy put beside the weights
(loss curves, loss scalers) becomes an empty object; a file that asks for anything else is refused. Knows nothing of
what the keys mean.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Self

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from tunesmith.errors import ModelError

_RECORD_KEEPERS = ("mmengine.", "xtuner.", "deepspeed.", "numpy.")
"""Packages whose objects stand beside the weights; none of them is imported."""

_RECORDS = frozenset({"builtins.getattr"})
"""How mmengine's loss curves name their methods."""

_UNREADABLE = (
    pickle.UnpicklingError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
)
"""What torch raises at files that are cut off, or are something else."""


class _Nothing:
    """Stands where an object of another package would: takes whatever it is given and keeps none of it."""

    def __new__(cls, *given: Any) -> Self:
        del given
        return super().__new__(cls)

    def __init__(self, *given: Any) -> None:
        del given

    def __setstate__(self, state: Any) -> None:
        del state


def load_pickle(file: Path) -> Any:
    """What `torch.save` wrote into `file`, tensors mapped from the disk, objects of other packages left empty.

    Raises ModelError where the file is damaged, or asks for code beyond that of the packages that XTuner saves.
    """
    try:
        asked = _asked_for(file)
        with safe_globals([(_Nothing, name) for name in asked]):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_archive(file))
    except ModelError:
        raise
    except _UNREADABLE as error:
        raise ModelError(
            f"{file} cannot be read as a checkpoint ({_reason(error)}); it is damaged, incomplete, or was not "
            "written by torch.save: copy it again"
        ) from error


def _asked_for(file: Path) -> list[str]:
    """Names in the file that stand for code. Raises ModelError for any that XTuner's own checkpoints have not."""
    if not _is_archive(file):
        return []  # from before PyTorch 1.6: torch refuses all such names by itself
    names = sorted(get_unsafe_globals_in_checkpoint(file))
    foreign = [name for name in names if name not in _RECORDS and not name.startswith(_RECORD_KEEPERS)]
    if foreign:
        raise ModelError(
            f"{file} asks for the code {', '.join(foreign[:3])} while it is read, which checkpoints of XTuner do not "
            "and Tunesmith does not run. If you trust the file, load it where that code is installed and save its "
            "state_dict alone: torch.save({'state_dict': …}, 'clean.pth')"
        )
    return names


def _is_archive(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError | LookupError):
        # What torch says here is a number, or the advice to run the code in the file.
        return "it is not made of tensors alone"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
