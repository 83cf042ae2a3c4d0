"""Placeholders give way to the processor's text, and every span moves along."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tunesmith.chat.message import Media
from tunesmith.chat.render import Rendered
from tunesmith.data.encoding.expand import Expander
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, VideoShape
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
IMAGE, VIDEO, AUDIO = Media("image", "a.png"), Media("video", "a.mp4"), Media("audio", "a.wav")
SQUARE = ImageShape(56, 56)


def test_expanding_moves_every_span(preprocessor_of: PreprocessorOf) -> None:
    before, between, after = "<|vision_start|>", "<|vision_end|>What?<|im_end|>", "yes"
    text = f"{before}<|image_pad|>{between}{after}"
    start = text.index("What?")
    rendered = Rendered(text, ((len(text) - 3, len(text)),), ((start, start + 5),), (IMAGE,))

    expanded = Expander(preprocessor_of("qwen2_5_vl")).expand(rendered, shapes=[ImageShape(56, 84)])

    assert expanded.text == f"{before}{'<|image_pad|>' * 6}{between}{after}"
    assert [expanded.text[slice(*span)] for span in (*expanded.supervised, *expanded.literal)] == ["yes", "What?"]
    assert [expanded.text[slice(*span)] for span in expanded.media] == ["<|image_pad|>" * 6]


def test_kinds_in_the_order_of_the_text(preprocessor_of: PreprocessorOf) -> None:
    rendered = Rendered("a<|AUDIO|>b<|IMAGE|>c<|AUDIO|>", (), (), (AUDIO, IMAGE, AUDIO))
    shapes = [AudioShape(16_000), SQUARE, AudioShape(32_000)]

    expanded = Expander(preprocessor_of("qwen2_5_omni")).expand(rendered, shapes=shapes)

    assert expanded.text == f"a{'<|AUDIO|>' * 25}b{'<|IMAGE|>' * 4}c{'<|AUDIO|>' * 50}"
    assert [end - start for start, end in expanded.media] == [25 * 9, 4 * 9, 50 * 9]


def test_a_whole_row_gives_the_same(preprocessor_of: PreprocessorOf) -> None:
    rendered = Rendered("a<|video_pad|>b<|image_pad|>c", (), (), (VIDEO, IMAGE))
    shapes = [VideoShape(100, 60, (0, 10, 20, 30), 40, 20.0), SQUARE]
    preprocessor = preprocessor_of("qwen3_vl")

    learned = Expander(preprocessor).expand(rendered, shapes=shapes)

    assert Expander(preprocessor, whole_rows=True).expand(rendered, shapes=shapes) == learned


def test_a_placeholder_spelled_by_a_row_is_no_placeholder(preprocessor_of: PreprocessorOf) -> None:
    text = "<|image_pad|> is <|image_pad|>"
    rendered = Rendered(text, (), ((13, len(text)),), (IMAGE,))
    expanded = Expander(preprocessor_of("qwen2_5_vl")).expand(rendered, shapes=[SQUARE])
    assert expanded.text == "<|image_pad|>" * 4 + " is <|image_pad|>"


def test_a_template_for_another_model_is_named(preprocessor_of: PreprocessorOf) -> None:
    rendered = Rendered("<image>What?", (), (), (IMAGE,))
    with pytest.raises(DataError, match=r"writes 0 image placeholder\(s\) \(<\|image_pad\|>\) for 1 image.*template"):
        Expander(preprocessor_of("qwen2_5_vl")).expand(rendered, shapes=[SQUARE])


def test_placeholders_in_another_order(preprocessor_of: PreprocessorOf) -> None:
    rendered = Rendered("<|AUDIO|><|IMAGE|>", (), (), (IMAGE, AUDIO))
    with pytest.raises(DataError, match="in another order than the row has its media"):
        Expander(preprocessor_of("qwen2_5_omni")).expand(rendered, shapes=[SQUARE, AudioShape(16_000)])


@pytest.mark.parametrize(
    ("kind", "media", "message"),
    [
        ("qwen2", IMAGE, "the row has images, but this model takes only text"),
        ("gemma3", VIDEO, "the row has videos, but this model takes images"),
        ("qwen2_5_vl", AUDIO, "the row has audio, but this model takes images and videos"),
        ("qwen2_audio", IMAGE, "the row has images, but this model takes audio"),
    ],
)
def test_a_kind_the_model_does_not_take(kind: str, media: Media, message: str, preprocessor_of: PreprocessorOf) -> None:
    with pytest.raises(DataError, match=message):
        Expander(preprocessor_of(kind)).expand(Rendered("x", (), (), (media,)), shapes=[SQUARE])
