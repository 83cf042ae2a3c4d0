"""Micro-batches kept for a look at them: what the model was given, and which rows and media it was made of.

    bad_batches/step-N-rank-R/
        batch-0.safetensors   ids, labels and media tensors as the model had them
        rows.json             why it was kept; of every row: file, row, text, media and where they were copied to
        media/                the pictures, videos and sounds that stand on this machine or in the row

Knows nothing of losses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tunesmith.chat.message import Media
from tunesmith.data.batches.batch import Batch
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.video_sounds import sound_of
from tunesmith.errors import DataError
from tunesmith.media.fetch import find_content, open_content
from tunesmith.train.folder.atomic import writing_folder

_MOST_KEPT = 100
"""Folders; a run that skips step after step does not fill the disk."""
_REMOTE = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class BadBatches:
    """Keeps batches under `folder`. `media_of`: what the references of a sample stand for."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    media_of: Callable[[Encoded], Sequence[Media]]

    def keep(self, batches: Sequence[Batch], *, step: int, rank: int, facts: Mapping[str, Any]) -> Path | None:
        """Write the `batches` of a step; where they stand, None where enough are kept already.

        facts: why, for rows.json

        Raises RunError where the disk refuses.
        """
        place = self.folder / f"step-{step}-rank-{rank}"
        if not place.exists() and self.folder.is_dir() and len(list(self.folder.iterdir())) >= _MOST_KEPT:
            return None
        with writing_folder(place) as draft:
            for number, batch in enumerate(batches):
                save_file(tensors_of(batch), draft / f"batch-{number}.safetensors")
            content = {"step": step, "rank": rank, **facts, "rows": self._rows(batches, draft)}
            (draft / "rows.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return place

    def _rows(self, batches: Sequence[Batch], draft: Path) -> list[dict[str, Any]]:
        return [
            {"batch": number, **self._row(sample, draft / "media", prefix=f"{number}-{place}")}
            for number, batch in enumerate(batches)
            for place, sample in enumerate(batch.samples)
        ]

    def _row(self, sample: Encoded, folder: Path, *, prefix: str) -> dict[str, Any]:
        try:
            media = self.media_of(sample)
        except DataError as error:  # the row has gone since; what the model was given is kept all the same
            media, note = (), {"media_problem": str(error)}
        else:
            note = {}
        return {
            "file": sample.source.file,
            "row": sample.source.row,
            "tokens": len(sample),
            "text": self.tokenizer.decode(sample.input_ids.tolist()),
            "media": [_kept(item, folder, f"{prefix}-{number}") for number, item in enumerate(media)],
            **note,
        }


def tensors_of(batch: Batch, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of a batch by name: labels, `inputs.…`, and for KTO `mismatched.…`."""
    own = {"labels": batch.labels, "positions": batch.positions, "targets": batch.targets}
    own |= {f"inputs.{name}": tensor for name, tensor in batch.inputs.items()}
    # a tensor of its own for every name: KTO's media stand in both batches
    named = {prefix + name: tensor.detach().cpu().clone().contiguous() for name, tensor in own.items()}
    return named if batch.mismatched is None else named | tensors_of(batch.mismatched, prefix="mismatched.")


def _kept(media: Media, folder: Path, name: str) -> dict[str, Any]:
    """How rows.json names a medium, whose files are copied where that needs no download."""
    files = (_copy(file, folder, f"{name}-{part}") for part, file in enumerate(_files_of(media)))
    return {"kind": media.kind, "name": media.name, "copies": [f"media/{file}" for file in files if file is not None]}


def _files_of(media: Media) -> list[Media]:
    """Each file of a medium: the frames of a video given as pictures, the sound that stands beside one."""
    sources = media.source if isinstance(media.source, tuple) else (media.source,)
    own = [Media(media.kind, source) for source in sources]
    sound = sound_of(media)
    return own if sound is media else [*own, sound]


def _copy(media: Media, folder: Path, name: str) -> str | None:
    """The name of the copy of one file, None where there is none to be had."""
    if isinstance(media.source, str) and media.source.startswith(_REMOTE):
        return None
    try:
        content = find_content(media)
    except DataError:
        return None
    folder.mkdir(exist_ok=True)
    place = folder / f"{name}{_ending(media)}"
    with open_content(content) as source, place.open("wb") as target:
        shutil.copyfileobj(source, target)
    return place.name


def _ending(media: Media) -> str:
    if isinstance(media.source, str) and not media.source.startswith("data:"):
        return Path(media.source).suffix
    return ""
