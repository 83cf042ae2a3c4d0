"""The text that stands for a picture, a group of video frames or a sound: marks around runs of the unknown token.

The model puts one embedding at each unknown token of a run. Pure text: knows nothing of pixels or tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.models.families.minicpmv.slicing import Grid


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one model, as its preprocessor_config.json spells them, and how long a run is.

    num_tokens: unknown tokens that stand for one slice (the resampler's queries)
    """

    num_tokens: int = 64
    unk: str = "<unk>"
    image_start: str = "<image>"
    image_end: str = "</image>"
    slice_start: str = "<slice>"
    slice_end: str = "</slice>"
    id_start: str = "<image_id>"
    id_end: str = "</image_id>"

    @property
    def image(self) -> str:
        """A whole picture, or a group of frames."""
        return f"{self.image_start}{self.unk * self.num_tokens}{self.image_end}"

    @property
    def slice(self) -> str:
        """One cell of a grid."""
        return f"{self.slice_start}{self.unk * self.num_tokens}{self.slice_end}"


_KEYS = {
    "num_tokens": "image_feature_size",
    "unk": "unk",
    "image_start": "im_start",
    "image_end": "im_end",
    "slice_start": "slice_start",
    "slice_end": "slice_end",
    "id_start": "im_id_start",
    "id_end": "im_id_end",
}
"""Field of `Marks` -> key of preprocessor_config.json."""


def read_marks(published: Mapping[str, Any]) -> Marks:
    """The marks in the contents of a preprocessor_config.json; the usual ones for keys that it leaves out."""
    return Marks(**{field: published[key] for field, key in _KEYS.items() if key in published})


def image_text(marks: Marks, grid: Grid | None, *, number: int | None) -> str:
    """What stands for an image cut into `grid`; `number` is its place among the images of its conversation.

    A `number` of None leaves out the `<image_id>`.
    """
    name = "" if number is None else f"{marks.id_start}{number}{marks.id_end}"
    return name + marks.image + _grid_text(marks, grid)


def frames_text(marks: Marks, num_groups: int, grid: Grid | None = None) -> str:
    """What stands for `num_groups` groups of video frames, each cut into `grid`: one a line, without numbers."""
    return "\n".join([marks.image + _grid_text(marks, grid)] * num_groups)


def audio_text(
    num_tokens: int, *, unk: str = "<unk>", start: str = "<|audio_start|>", end: str = "<|audio_end|>"
) -> str:
    """What stands for a sound of `num_tokens` embeddings."""
    return f"{start}{unk * num_tokens}{end}"


def _grid_text(marks: Marks, grid: Grid | None) -> str:
    if grid is None:
        return ""
    columns, rows = grid
    return "\n".join([marks.slice * columns] * rows)
