"""Tiny MiniCPM-V models of known weights and texts with pictures for them, as they were given to the published code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.models.families.minicpmv.known_weights import give_known_weights
from tests.tiny.minicpm import published_config
from tunesmith.models.families.minicpmv.config import MiniCPMVConfig
from tunesmith.models.families.minicpmv.model import MiniCPMVForConditionalGeneration

WIDTH = 256
"""Two heads in the resampler."""

_MARKS = {"unk": 3, "image_start": 4, "image_end": 5, "slice_start": 6, "slice_end": 7}
_VOCABULARY = 96


@dataclass(frozen=True, slots=True)
class Picture:
    """Slices that share a run: patches high and wide of each, their times, and whether the run is a slice's."""

    sizes: Sequence[tuple[int, int]]
    times: Sequence[int] = (-1,)
    is_slice: bool = False


STILLS = (Picture([(8, 8)]), Picture([(6, 10)]), Picture([(6, 10)], is_slice=True), Picture([(10, 6)], is_slice=True))
WIDE = (Picture([(3, 21)]),)
CLIP = (
    Picture([(8, 8)]),
    Picture([(6, 9)] * 3, times=(0, 5, 11)),
    Picture([(6, 9), (9, 6)], times=(17, 72_345)),
    Picture([(4, 4)], times=(40,)),
)


def build_config(kind: str) -> MiniCPMVConfig:
    """The config of a kind of tests.tiny, wider, with a small vocabulary."""
    sizes = {"hidden_size": WIDTH, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": _VOCABULARY}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "media_token_ids": _MARKS}
    return MiniCPMVConfig(**{**published_config(kind), **sizes, **ids})


def build_model(kind: str, *, dtype: torch.dtype = torch.float32) -> MiniCPMVForConditionalGeneration:
    """The model of a kind in evaluation mode."""
    model = MiniCPMVForConditionalGeneration(build_config(kind)).to(dtype)
    give_known_weights(model)
    return model.eval()


@dataclass(frozen=True, slots=True)
class Example:
    """One text with pictures: the model's inputs."""

    input_ids: Tensor
    pixel_values: Tensor
    tgt_sizes: Tensor
    temporal_ids: Tensor
    group_sizes: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """By the names of forward; input_ids as one row."""
        media = ("pixel_values", "tgt_sizes", "temporal_ids", "group_sizes")
        return {"input_ids": self.input_ids[None], **{name: getattr(self, name) for name in media}}


def build_example(pictures: Sequence[Picture], *, num_queries: int = 4, seed: int = 0) -> Example:
    """A text of 3 tokens, then every picture with 2 tokens behind it."""
    draws = np.random.RandomState(seed)
    ids = list(draws.randint(8, _VOCABULARY, 3))
    for picture in pictures:
        kind = "slice" if picture.is_slice else "image"
        ids += [_MARKS[f"{kind}_start"], *[_MARKS["unk"]] * num_queries, _MARKS[f"{kind}_end"]]
        ids += list(draws.randint(8, _VOCABULARY, 2))
    sizes = [size for picture in pictures for size in picture.sizes]
    num_patches = sum(high * wide for high, wide in sizes)
    return Example(
        input_ids=torch.tensor(ids),
        pixel_values=torch.from_numpy(draws.standard_normal((num_patches, 3, 14, 14)).astype(np.float32)),
        tgt_sizes=torch.tensor(sizes),
        temporal_ids=torch.tensor([time for picture in pictures for time in picture.times]),
        group_sizes=torch.tensor([len(picture.sizes) for picture in pictures]),
    )
