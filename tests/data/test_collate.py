"""A collated batch is what the model's own processor makes of the same texts and images, padded on the right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.data.rows import assistant, build_encoder, conversation, opened, picture, user
from tests.tiny import VISION_KINDS
from tunesmith.chat.message import Conversation, Media
from tunesmith.data.collate import Collator
from tunesmith.data.encoded import IGNORED
from tunesmith.errors import DataError
from tunesmith.media import image as media_image
from tunesmith.models.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]

PICTURED = [
    conversation(user(picture(120, 90), "one?"), assistant("red circle")),
    conversation(
        user(picture(300, 40, seed=1), picture(64, 200, seed=2), "你好?"),
        assistant("ok"),
        user("more?"),
        assistant("no"),
        row=1,
    ),
    conversation(user(picture(640, 480, seed=3), "a longer question than the others?"), assistant("x"), row=2),
]


def processor_batch(preprocessor: Preprocessor, rows: list[Conversation]) -> dict[str, torch.Tensor]:
    """The processor's own call on the rendered texts of `rows` and their images."""
    encoder = build_encoder(preprocessor)
    texts = [encoder.trace(row).rendered.text for row in rows]
    images = [[opened(media) for media in row.media()] for row in rows]
    bos = preprocessor.tokenizer.bos_token
    options = {"add_special_tokens": False} if bos and texts[0].startswith(bos) else {}
    return dict(
        preprocessor.processor(
            text=texts, images=images, padding=True, padding_side="right", return_tensors="pt", **options
        )
    )


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_a_batch_is_the_processors_own(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    encoder = build_encoder(preprocessor)

    batch = Collator(preprocessor)([encoder.encode(row) for row in PICTURED])

    own = processor_batch(preprocessor, PICTURED)
    assert batch.inputs.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(torch.as_tensor(batch.inputs[name]), torch.as_tensor(value)), name


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3", "internvl", "llava"])
def test_rows_without_images_beside_rows_with_them(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    encoder, collator = build_encoder(preprocessor), Collator(preprocessor)
    text_only = encoder.encode(conversation(user("no picture"), assistant("ok")))
    pictured = encoder.encode(PICTURED[0])

    mixed, alone = collator([text_only, pictured]), collator([pictured])

    for name in set(mixed.inputs) - {"input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"}:
        assert torch.equal(mixed.inputs[name], alone.inputs[name]), name
    assert "pixel_values" not in collator([text_only]).inputs


def test_padding_and_counts(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    encoder = build_encoder(preprocessor)
    short = encoder.encode(conversation(user("a"), assistant("b")))
    long = encoder.encode(conversation(user("a b c d e"), assistant("f g h i"), row=1))

    batch = Collator(preprocessor)([short, long])

    padding = len(long) - len(short)
    assert batch.inputs["input_ids"].shape == batch.labels.shape == (2, len(long))
    assert batch.inputs["input_ids"][0, len(short) :].tolist() == [preprocessor.tokenizer.pad_token_id] * padding
    assert batch.inputs["attention_mask"].sum(1).tolist() == [len(short), len(long)]
    assert batch.labels[0, len(short) :].tolist() == [IGNORED] * padding
    assert batch.num_supervised == int((batch.labels[:, 1:] != IGNORED).sum())
    assert batch.num_tokens == len(short) + len(long)
    assert [str(source) for source in batch.sources] == ["rows.json, row 0", "rows.json, row 1"]
    assert set(batch.inputs) == {"input_ids", "attention_mask"}


def test_an_image_is_decoded_once_a_batch(preprocessor_of: PreprocessorOf, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    same = build_encoder(preprocessor).encode(PICTURED[0])
    decoded: list[str] = []
    real = media_image.open_image

    def counting(media: Media) -> object:
        decoded.append(media.name)
        return real(media)

    monkeypatch.setattr("tunesmith.data.pictures.open_image", counting)
    batch = Collator(preprocessor)([same, same])

    assert len(decoded) == 1
    first, second = batch.inputs["pixel_values"].chunk(2)
    assert torch.equal(first, second)


def test_an_unreadable_image_names_its_row(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    example = build_encoder(preprocessor).encode(PICTURED[1])
    gone = replace(example, media=(Media("image", "gone.png"), *example.media[1:]))
    with pytest.raises(DataError, match=r"rows\.json, row 1: gone\.png"):
        Collator(preprocessor)([gone])


def test_a_batch_moves_whole(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    batch = Collator(preprocessor)([build_encoder(preprocessor).encode(PICTURED[0])])
    moved = batch.to("meta")
    assert {value.device.type for value in (*moved.inputs.values(), moved.labels)} == {"meta"}
    assert moved.num_supervised == batch.num_supervised and moved.sources == batch.sources
