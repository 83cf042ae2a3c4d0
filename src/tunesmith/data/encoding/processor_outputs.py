"""Which of a processor's outputs follow the tokens, and how token types follow from ids; learned from short calls.

mm_token_type_ids (Qwen-VL, …) and token_type_ids (Gemma 3, …) are functions of the ids. Everything whose length does
not follow the text belongs to the media: pixels, features, grids, sizes, times, masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import ProcessorMixin

from tunesmith.chat.message import MediaKind
from tunesmith.data.encoding.blank_media import blank_medium
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, Shape, VideoShape
from tunesmith.data.encoding.processor_call import call_processor
from tunesmith.models.preprocessing.processor import Preprocessor

_PLAIN = ("input_ids", "attention_mask")
_COMMON_TYPES = "mm_token_type_ids"
_PROBES: dict[MediaKind, Shape] = {
    "image": ImageShape(600, 280),
    "video": VideoShape(160, 90, (0, 5, 10, 15), 20, 10.0),
    "audio": AudioShape(16_000),
}


@dataclass(frozen=True, slots=True)
class ProcessorOutputs:
    """What is known of the outputs of one model's processor.

    sequence:   names of the outputs as long as the ids
    types_name: the one of them that tells media from text, if any
    type_of_id: the types of the ids that are not text
    rule:       the processor's own, for lists of ids, where a type depends on more than its id
    """

    sequence: frozenset[str]
    types_name: str | None
    type_of_id: dict[int, int]
    rule: Callable[[list[list[int]]], list[list[int]]] | None = None

    def token_types(self, ids: np.ndarray) -> np.ndarray | None:
        """(T,) int8, what the processor would return for `ids`; None if the model takes none."""
        if self.types_name is None:
            return None
        if self.rule is not None:
            return np.asarray(self.rule([ids.tolist()])[0], dtype=np.int8)
        types = np.zeros(len(ids), dtype=np.int8)
        for number, kind in self.type_of_id.items():
            types[ids == number] = kind
        return types


def learn_outputs(preprocessor: Preprocessor) -> ProcessorOutputs:
    """Call the processor on one blank medium of each kind, with a short and a longer text, and compare.

    For a text model nothing follows the tokens but the mask.
    """
    sequence, types_name, type_of_id = set(_PLAIN), None, dict[int, int]()
    for kind in preprocessor.kinds:
        short, long = (_probe(preprocessor, kind, text) for text in ("a", "a b c d e f g"))
        follow = {name for name in long if np.shape(long[name])[:2] != np.shape(short[name])[:2]} - set(_PLAIN)
        sequence |= follow
        for name in sorted(name for name in follow if np.asarray(long[name]).any()):
            types_name = name
            type_of_id |= dict(_typed_ids(long, name))
    rule = _own_rule(preprocessor.processor) if types_name == _COMMON_TYPES else None
    return ProcessorOutputs(frozenset(sequence), types_name, type_of_id, rule)


def _own_rule(processor: Any) -> Callable[[list[list[int]]], list[list[int]]] | None:
    """The processor's rule for token types, if it is not transformers' common one (which looks at single ids).

    GLM-4V has one: the frames of a video are spelled with the token of images, between marks of the video.
    """
    rule = type(processor).create_mm_token_type_ids
    return processor.create_mm_token_type_ids if rule is not ProcessorMixin.create_mm_token_type_ids else None


def _typed_ids(outputs: dict[str, Any], name: str) -> Iterator[tuple[int, int]]:
    """(id, type) of the tokens that are not text."""
    ids, types = np.asarray(outputs["input_ids"])[0], np.asarray(outputs[name])[0]
    return ((int(number), int(kind)) for number, kind in zip(ids, types, strict=True) if kind)


def _probe(preprocessor: Preprocessor, kind: MediaKind, text: str) -> dict[str, Any]:
    medium = blank_medium(_PROBES[kind], without_content=False)
    text = preprocessor.placeholder(kind) + text
    return dict(call_processor(preprocessor, texts=[text], rows=[[medium]], return_tensors="pt"))
