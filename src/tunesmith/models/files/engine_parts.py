"""Where an engine's parts of a training's state lie: torch's distributed checkpoints, DeepSpeed's folders, and ours.

Looks at names only, loads nothing.
"""

from __future__ import annotations

from pathlib import Path

_INSIDE = ("", "trainer", "trainer/sharded", "trainer/pieces", "sharded", "pieces")
_OTHERS = ("global_step*", "pytorch_model_fsdp*", "*.pth")
"""Inside the folders of transformers, accelerate and XTuner."""


def holds_distributed_checkpoint(folder: Path) -> bool:
    """Whether torch's distributed checkpoint (FSDP) lies directly in `folder`."""
    return (folder / ".metadata").is_file()


def holds_pieces(folder: Path) -> bool:
    """Whether the runs of numbers that Tunesmith writes under DeepSpeed lie directly in `folder`."""
    return any(folder.glob("*-of-*.safetensors")) and folder.name == "pieces"


def holds_zero(folder: Path) -> bool:
    """Whether DeepSpeed's own files lie directly in `folder`."""
    return any(folder.glob("*_model_states.pt"))


def find_parts(folder: Path) -> Path | None:
    """The folder with parts that `folder` is or has in it, the newest of several; None where a model lies there whole,
    or nothing does.
    """
    if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return None
    others = sorted((place for pattern in _OTHERS for place in folder.glob(pattern)), key=_number, reverse=True)
    places = [*(folder / name for name in _INSIDE), *others]
    return next((place for place in places if place.is_dir() and _holds_any(place)), None)


def _holds_any(place: Path) -> bool:
    return holds_distributed_checkpoint(place) or holds_pieces(place) or holds_zero(place)


def _number(place: Path) -> int:
    digits = "".join(letter for letter in place.name if letter.isdigit())
    return int(digits or 0)
