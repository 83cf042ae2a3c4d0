"""Markers in texts → the texts of the media that they stand for, and those media's tensors in the same order.

Knows nothing of how a medium becomes pixels, features or text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tunesmith.models.families.minicpmv.audio_features import ProcessedSound
from tunesmith.models.families.minicpmv.given_media import Nested, num_by_text
from tunesmith.models.families.minicpmv.visual_inputs import VisualInputs, join_visuals


@dataclass(frozen=True, slots=True)
class Placed:
    """A medium with the text that takes its marker's place; `content` is its pixels or its sound."""

    text: str
    content: VisualInputs | ProcessedSound


def place(texts: Sequence[str], waiting: Mapping[str, Iterator[Placed]]) -> tuple[list[str], list[Placed]]:
    """`texts` with every marker replaced by the next medium that waits for it, and these media in their new order."""
    placed: list[Placed] = []

    def write(marker: re.Match[str]) -> str:
        placed.append(next(waiting[marker.group()]))
        return placed[-1].text

    pattern = re.compile("|".join(map(re.escape, waiting)))
    return [pattern.sub(write, text) for text in texts], placed


def require_counts(texts: Sequence[str], marker: str, *, flat: Sequence[object], given: Nested) -> list[int]:
    """How often each text has `marker`; `flat` are the media `given` for it. Raises ValueError unless they fit."""
    counts = [text.count(marker) for text in texts]
    if sum(counts) != len(flat):
        raise ValueError(f"the text has {sum(counts)} {marker}, but {len(flat)} media were given for it")
    by_text = num_by_text(given, len(texts), flat=flat)
    for number, (wanted, there) in enumerate(zip(counts, by_text or counts, strict=True), start=1):
        if wanted != there:
            raise ValueError(f"text {number} has {wanted} {marker}, but {there} media were given for it")
    return counts


def media_tensors(placed: Sequence[Placed], *, is_3d: bool) -> dict[str, Tensor]:
    """What the model's forward takes for media in this order; `is_3d` adds when frames were taken, and their groups."""
    visuals = [one.content for one in placed if isinstance(one.content, VisualInputs)]
    sounds = [one.content for one in placed if isinstance(one.content, ProcessedSound)]
    tensors: dict[str, Tensor] = {}
    if visuals:
        joined = join_visuals(visuals)
        tensors |= {"pixel_values": joined.patches, "tgt_sizes": joined.tgt_sizes}
        if is_3d:
            tensors |= {"temporal_ids": joined.temporal_ids, "group_sizes": joined.group_sizes}
    if sounds:
        tensors |= {
            "audio_features": torch.cat([sound.features for sound in sounds]),
            "audio_feature_lens": torch.cat([sound.feature_lens for sound in sounds]),
            "audio_clip_sizes": torch.tensor([len(sound.feature_lens) for sound in sounds]),
        }
    return tensors
