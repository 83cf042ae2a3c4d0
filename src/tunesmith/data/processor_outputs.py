"""Which of a processor's outputs follow the tokens, and how token types follow from ids; learned from two calls.

mm_token_type_ids (Qwen-VL, …) and token_type_ids (Gemma 3, …) are functions of the ids. Everything whose length does
not follow the text belongs to the media: pixels, grids, sizes, masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_PLAIN = ("input_ids", "attention_mask")
_PROBE_SIZE = (600, 280)


@dataclass(frozen=True, slots=True)
class ProcessorOutputs:
    """`sequence`: names of the outputs as long as the ids; `types_name`: the one that tells media from text, if any."""

    sequence: frozenset[str]
    types_name: str | None
    type_of_id: dict[int, int]

    def token_types(self, ids: np.ndarray) -> np.ndarray | None:
        """(T,) int8, what the processor would return for `ids`; None if the model takes none."""
        if self.types_name is None:
            return None
        types = np.zeros(len(ids), dtype=np.int8)
        for number, kind in self.type_of_id.items():
            types[ids == number] = kind
        return types


def learn_outputs(processor: Any) -> ProcessorOutputs:
    """Call `processor` on one blank image with a short and a longer text, and compare.

    `processor` may be None (a text model) or one without images: then nothing follows the tokens but the mask.
    """
    if processor is None or not hasattr(processor, "image_token"):
        return ProcessorOutputs(frozenset(_PLAIN), None, {})
    short, long = (_probe(processor, text) for text in ("a", "a b c d e f g"))
    sequence = frozenset(name for name in long if np.shape(long[name])[:2] != np.shape(short[name])[:2])
    for name in sorted(sequence - set(_PLAIN)):
        if np.asarray(long[name]).any():
            ids, types = np.asarray(long["input_ids"])[0], np.asarray(long[name])[0]
            marked = {int(number): int(kind) for number, kind in zip(ids, types, strict=True) if kind}
            return ProcessorOutputs(sequence | set(_PLAIN), name, marked)
    return ProcessorOutputs(sequence | set(_PLAIN), None, {})


def _probe(processor: Any, text: str) -> dict[str, Any]:
    image = Image.new("RGB", _PROBE_SIZE)
    return dict(processor(text=[f"{processor.image_token}{text}"], images=[[image]], return_tensors="pt"))
