"""Token types follow from ids as the processor itself says, and media tensors are told from what follows the text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.data.blank import noise, plain_call, random_images, random_sounds, random_videos
from tests.tiny import AUDIO_KINDS, VISION_KINDS
from tunesmith.data.encoding.media_shape import Shape
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
DRAW = {"image": random_images, "video": random_videos, "audio": random_sounds}


@pytest.mark.parametrize("kind", [*VISION_KINDS, *AUDIO_KINDS])
def test_types_of_every_kind_of_media(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    outputs = learn_outputs(preprocessor)
    for medium in preprocessor.kinds:
        shapes: list[Shape] = [DRAW[medium](3)[0]]
        text = "Look: " + preprocessor.placeholder(medium) + " What is it?"
        real = plain_call(preprocessor.processor, [text], [[noise(shape) for shape in shapes]])
        ids = np.asarray(real["input_ids"])[0]
        types = outputs.token_types(ids)
        if outputs.types_name is None:
            assert types is None and not any("token_type_ids" in name for name in real)
        else:
            assert np.array_equal(np.asarray(real[outputs.types_name])[0], types)
        as_long_as_ids = {name for name, value in real.items() if np.shape(value)[:2] == (1, len(ids))}
        assert as_long_as_ids == outputs.sequence & real.keys()


def test_the_types_that_transformers_gives_today(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    ids = np.array(preprocessor.tokenizer("a<|image_pad|>b<|video_pad|><|video_pad|>")["input_ids"])
    types = learn_outputs(preprocessor).token_types(ids)
    assert types is not None and types.tolist() == [0, 1, 0, 2, 2]


def test_glm_tells_frames_from_pictures_by_the_marks_around_them(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("glm4v")
    text = "<|begin_of_image|><|image|><|end_of_image|><|begin_of_video|><|image|><|end_of_video|>"
    ids = np.array(preprocessor.tokenizer(text, add_special_tokens=False)["input_ids"])
    types = learn_outputs(preprocessor).token_types(ids)
    assert types is not None and types.tolist() == [0, 1, 0, 0, 2, 0]


def test_a_text_model_has_none(preprocessor_of: PreprocessorOf) -> None:
    outputs = learn_outputs(preprocessor_of("qwen2"))
    assert outputs.types_name is None
    assert outputs.sequence == {"input_ids", "attention_mask"}
