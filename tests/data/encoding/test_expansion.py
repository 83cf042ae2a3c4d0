"""What is learned of a processor's text, without decoding, is what a real call writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.data.blank import noise, plain_call, random_images, random_sounds, random_videos
from tests.tiny import AUDIO_KINDS, IMAGE_KINDS
from tunesmith.data.encoding.expansion import Replacements, expanded_text, replacements_in
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, Shape, VideoShape
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
VIDEO_KINDS = [kind for kind in IMAGE_KINDS if kind not in ("gemma3", "llava", "idefics3", "mistral3")]


def assert_as_a_real_call(preprocessor: Preprocessor, replacements: Replacements, shapes: Sequence[Shape]) -> None:
    """Placeholders between letters, expanded by us and tokenised, against the processor's ids for noise."""
    placeholders = [preprocessor.placeholder(shape.kind) for shape in shapes]
    real = plain_call(
        preprocessor.processor,
        ["a" + "b".join(placeholders) + "c"],
        [[noise(shape, seed) for seed, shape in enumerate(shapes)]],
        add_special_tokens=False,
    )
    ours = "a" + "b".join(replacements(shapes)) + "c"
    ids = preprocessor.tokenizer(ours, add_special_tokens=False)["input_ids"]
    assert np.array_equal(ids, np.asarray(real["input_ids"])[0]), shapes


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_images_of_any_size(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    replacements = Replacements(preprocessor)
    for seed in range(5):
        assert_as_a_real_call(preprocessor, replacements, random_images(seed))


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_videos_of_any_length_size_and_rate(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    replacements = Replacements(preprocessor)
    for seed in range(5):
        assert_as_a_real_call(preprocessor, replacements, random_videos(seed))


@pytest.mark.parametrize("kind", AUDIO_KINDS)
def test_sound_of_any_length(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    replacements = Replacements(preprocessor)
    for seed in range(10):
        assert_as_a_real_call(preprocessor, replacements, random_sounds(seed))


def test_kinds_mixed_in_one_row(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_omni")
    video, image, sound = random_videos(1)[0], ImageShape(300, 200), AudioShape(50_000)
    replacements = Replacements(preprocessor)
    for shapes in ([video, image, sound], [sound, video, image, sound], [image, sound, image]):
        assert_as_a_real_call(preprocessor, replacements, shapes)


def test_times_of_frames_are_in_the_text(preprocessor_of: PreprocessorOf) -> None:
    replacements = Replacements(preprocessor_of("qwen3_vl"))
    (text,) = replacements([VideoShape(64, 64, (0, 25, 50, 75), 100, 25.0)])
    frame = "<|vision_start|>" + 4 * "<|video_pad|>" + "<|vision_end|>"
    assert text == f"<0.5 seconds>{frame}<2.5 seconds>{frame}"


def test_sound_is_woven_into_its_video(preprocessor_of: PreprocessorOf) -> None:
    replacements = Replacements(preprocessor_of("qwen2_5_omni"))
    # 4 s in chunks of 2 s: 50 sound tokens and one pair of frames each, which the processor enlarges to 144 tokens
    (text,) = replacements([VideoShape(56, 56, (0, 25, 50, 75), 100, 25.0, num_sound_samples=64_000)])
    video, sound = 144 * "<|VIDEO|>", 50 * "<|AUDIO|>"
    assert text == f"<|audio_bos|>{video}{sound}{video}{sound}<|audio_eos|>"


def test_sound_beside_a_video_with_sound(preprocessor_of: PreprocessorOf) -> None:
    replacements = Replacements(preprocessor_of("qwen2_5_omni"))
    clip = VideoShape(56, 56, (0, 25, 50, 75), 100, 25.0, num_sound_samples=64_000)
    alone, beside = replacements([clip])[0], replacements([AudioShape(16_000), clip])
    assert beside == (25 * "<|AUDIO|>", alone)


def test_pieces_of_a_whole_row_give_the_same_replacements(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("minicpmv4_6")
    shapes = [ImageShape(300, 200), ImageShape(900, 100)]
    pieces = ("<|im_start|>user\n", "and\n", " what?<|im_end|>")
    assert replacements_in(preprocessor, pieces=pieces, shapes=shapes) == Replacements(preprocessor)(shapes)


def test_texts_that_depend_on_the_place_in_the_row_are_learned_per_row(preprocessor_of: PreprocessorOf) -> None:
    first, second = Replacements(preprocessor_of("minicpmv4_6"))([ImageShape(100, 100), ImageShape(100, 100)])
    assert first.replace("<image_id>0</image_id>", "<image_id>1</image_id>") == second
    assert first != second


def test_a_shape_the_processor_refuses_is_a_data_error(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    narrow = ImageShape(9000, 10)
    with pytest.raises(DataError, match="refuses an image of 9000x10 pixels"):
        Replacements(preprocessor)([narrow])
    with pytest.raises(DataError, match="refuses an image of 9000x10 pixels"):
        expanded_text(preprocessor, text="<|image_pad|>", shapes=[narrow])
    with pytest.raises(DataError, match="refuses a video of 2 frames of 9000x10 pixels"):
        Replacements(preprocessor)([VideoShape(9000, 10, (0, 1), 2, 1.0)])
