"""Examples → one batch of tensors: padded on the right, pixels made by the model's own processor.

Runs in the loader's workers. The processor is called once for all images of a batch, on texts of bare placeholders;
what it returns beside ids and masks is what a call on the whole texts would return. Knows nothing of epochs or steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.encoded import IGNORED, Encoded
from tunesmith.data.pictures import load_picture
from tunesmith.data.processor_outputs import learn_outputs
from tunesmith.errors import DataError
from tunesmith.models.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class Batch:
    """What a model is given for one micro-batch.

    inputs:         keyword arguments of the model's forward: input_ids (B, T) int64, attention_mask (B, T) int64,
                    token types, and the media tensors of the processor
    labels:         (B, T) int64, IGNORED outside the loss; not shifted
    num_supervised: tokens that a causal loss is taken over
    sources:        where the B rows stand
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    num_supervised: int
    sources: tuple[RowSource, ...]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`, copied without waiting where the memory is pinned."""
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        return Batch(inputs, self.labels.to(device, non_blocking=True), self.num_supervised, self.sources)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the DataLoader calls this."""
        inputs = {name: value.pin_memory() for name, value in self.inputs.items()}
        return Batch(inputs, self.labels.pin_memory(), self.num_supervised, self.sources)

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.inputs["attention_mask"].sum())


class Collator:
    """Builds batches for one model."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        self._preprocessor = preprocessor
        self._outputs = learn_outputs(preprocessor.processor)
        pad_id = preprocessor.tokenizer.pad_token_id
        self._pad_id = 0 if pad_id is None else int(pad_id)

    def __call__(self, examples: Sequence[Encoded]) -> Batch:
        """Raises DataError, naming the row, for media that cannot be read."""
        inputs = {
            "input_ids": _pad([example.input_ids for example in examples], fill=self._pad_id),
            "attention_mask": _pad([np.ones(len(example), dtype=np.int64) for example in examples], fill=0),
            **self._token_types(examples),
            **self._media_inputs(examples),
        }
        return Batch(
            inputs=inputs,
            labels=_pad([example.labels for example in examples], fill=IGNORED),
            num_supervised=sum(example.num_supervised for example in examples),
            sources=tuple(example.source for example in examples),
        )

    def _token_types(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        name = self._outputs.types_name
        types = [example.token_types for example in examples if example.token_types is not None]
        return {name: _pad(types, fill=0)} if name is not None and types else {}

    def _media_inputs(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        processor: Any = self._preprocessor.processor
        pictured = [example for example in examples if example.media]
        if not pictured:
            return {}
        images = self._open(pictured)
        texts = [str(processor.image_token) * len(example.media) for example in pictured]
        try:
            outputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
        except ValueError as error:
            rows = "; ".join(str(example.source) for example in pictured)
            raise DataError(f"{rows}: the model's processor refuses the images: {error}") from error
        return {name: value for name, value in outputs.items() if name not in self._outputs.sequence}

    def _open(self, examples: Sequence[Encoded]) -> list[list[Image.Image]]:
        """The images of each example; one that stands in several places is decoded once."""
        opened: dict[Media, Image.Image] = {}
        for example in examples:
            for media in example.media:
                if media not in opened:
                    try:
                        opened[media] = load_picture(media, self._preprocessor)
                    except DataError as error:
                        raise DataError(f"{example.source}: {error}") from error
        return [[opened[media] for media in example.media] for example in examples]


def _pad(rows: Sequence[np.ndarray], *, fill: int) -> Tensor:
    """(B, T) int64, T the longest of `rows`, `fill` behind the shorter ones."""
    padded = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded)
