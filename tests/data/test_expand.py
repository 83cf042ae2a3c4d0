"""Placeholders become exactly what the model's own processor makes of them, without decoding a pixel."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from PIL import Image

from tests.tiny import VISION_KINDS
from tunesmith.chat.message import Media
from tunesmith.chat.render import Rendered
from tunesmith.data.expand import Expander
from tunesmith.data.expansion import Replacements, expanded_text, replacements_in
from tunesmith.errors import DataError
from tunesmith.models.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
IMAGE = Media("image", "a.png")
EXTREME = [(900, 30), (40, 700), (1, 1), (2000, 1500)]


def random_sizes(seed: int) -> list[tuple[int, int]]:
    drawn = random.Random(seed)
    return [
        drawn.choice([(drawn.randint(30, 900), drawn.randint(30, 900)), *EXTREME]) for _ in range(drawn.randint(1, 3))
    ]


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_replacements_are_what_a_real_call_tokenises(kind: str, preprocessor_of: PreprocessorOf) -> None:
    processor = preprocessor_of(kind).processor
    assert processor is not None
    replacements = Replacements(processor)
    for seed in range(5):
        sizes = random_sizes(seed)
        text = "a" + "b".join([processor.image_token] * len(sizes)) + "c"
        images = [[Image.new("RGB", size) for size in sizes]]
        real = processor(text=[text], images=images, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        ours = "a" + "b".join(replacements(sizes)) + "c"
        assert processor.tokenizer(ours, add_special_tokens=False)["input_ids"] == real.tolist(), sizes


def test_pieces_of_a_whole_row_give_the_same_replacements(preprocessor_of: PreprocessorOf) -> None:
    processor = preprocessor_of("minicpmv4_6").processor
    sizes = [(300, 200), (900, 100)]
    pieces = ("<|im_start|>user\n", "and\n", " what?<|im_end|>")
    assert replacements_in(processor, pieces=pieces, sizes=sizes) == Replacements(processor)(sizes)


def test_texts_that_depend_on_the_place_in_the_row_are_learned_per_row(preprocessor_of: PreprocessorOf) -> None:
    first, second = Replacements(preprocessor_of("minicpmv4_6").processor)([(100, 100), (100, 100)])
    assert first.replace("<image_id>0</image_id>", "<image_id>1</image_id>") == second
    assert first != second


def test_expanding_moves_every_span(preprocessor_of: PreprocessorOf) -> None:
    before, between, after = "<|vision_start|>", "<|vision_end|>What?<|im_end|>", "yes"
    text = f"{before}<|image_pad|>{between}{after}"
    start = text.index("What?")
    rendered = Rendered(text, ((len(text) - 3, len(text)),), ((start, start + 5),), (IMAGE,))

    expanded = Expander(preprocessor_of("qwen2_5_vl")).expand(rendered, sizes=[(56, 84)])

    assert expanded.text == f"{before}{'<|image_pad|>' * 6}{between}{after}"
    assert [expanded.text[slice(*span)] for span in (*expanded.supervised, *expanded.literal)] == ["yes", "What?"]
    assert [expanded.text[slice(*span)] for span in expanded.media] == ["<|image_pad|>" * 6]


def test_a_placeholder_spelled_by_a_row_is_no_placeholder(preprocessor_of: PreprocessorOf) -> None:
    text = "<|image_pad|> is <|image_pad|>"
    rendered = Rendered(text, (), ((13, len(text)),), (IMAGE,))
    expanded = Expander(preprocessor_of("qwen2_5_vl")).expand(rendered, sizes=[(56, 56)])
    assert expanded.text == "<|image_pad|>" * 4 + " is <|image_pad|>"


def test_a_template_for_another_model_is_named(preprocessor_of: PreprocessorOf) -> None:
    rendered = Rendered("<image>What?", (), (), (IMAGE,))
    with pytest.raises(DataError, match=r"writes 0 image placeholder\(s\) \(<\|image_pad\|>\) for 1 image.*template"):
        Expander(preprocessor_of("qwen2_5_vl")).expand(rendered, sizes=[(56, 56)])


def test_a_text_model_takes_no_images(preprocessor_of: PreprocessorOf) -> None:
    with pytest.raises(DataError, match="no image processor"):
        Expander(preprocessor_of("qwen2")).expand(Rendered("x", (), (), (IMAGE,)), sizes=[(56, 56)])


def test_a_size_the_processor_refuses_is_a_data_error(preprocessor_of: PreprocessorOf) -> None:
    processor = preprocessor_of("qwen2_5_vl").processor
    with pytest.raises(DataError, match="refuses an image of 9000x10 pixels"):
        Replacements(processor)([(9000, 10)])
    with pytest.raises(DataError, match="refuses images of 9000x10 pixels"):
        expanded_text(processor, text="<|image_pad|>", sizes=[(9000, 10)])
