"""A padded batch is what the model's own processor makes of the same texts and images; a packed one is its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.conversations import assistant, build_encoder, conversation, opened, picture, user
from tests.tiny import VISION_KINDS
from tunesmith.chat.message import Conversation
from tunesmith.config.data import DataSettings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.models.preprocessing.processor import Preprocessor

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


def collate(
    preprocessor: Preprocessor, examples: list[Encoded], *, packed: bool = False, shared: bool = False
) -> Batch:
    """The batch of examples that hold their media themselves."""
    return Collator(preprocessor, MediaInputs(preprocessor), packed=packed, shared=shared)(
        examples, [example.media for example in examples]
    )


def paired(preprocessor: Preprocessor, *, verdicts: tuple[bool | None, ...] = (None, None)) -> list[Encoded]:
    """Two rows with another answer each, the first one with a picture; judged where `verdicts` are given."""
    rows = "pairs" if verdicts[0] is None else "verdicts"
    data = DataSettings(cutoff_len=100_000)
    encoder = Encoder(preprocessor, build_template(preprocessor, data, rows), data, rows)
    picked = [
        (PICTURED[0], assistant("a blue square, or two")),
        (conversation(user("你好?"), assistant("yes, hello"), row=1), assistant("no")),
    ]
    return [
        encoder.encode(replace(row, other_answer=other, verdict=verdict))
        for (row, other), verdict in zip(picked, verdicts, strict=True)
    ]


def answer_ids(batch: Batch) -> list[list[int]]:
    """The supervised tokens of each answer."""
    assert batch.answers is not None
    return [batch.targets[batch.answers.owner == number].tolist() for number in range(len(batch.answers.ends))]


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

    batch = collate(preprocessor, [encoder.encode(row) for row in PICTURED])

    own = processor_batch(preprocessor, PICTURED)
    assert batch.inputs.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(torch.as_tensor(batch.inputs[name]), torch.as_tensor(value)), name


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3", "internvl", "llava"])
def test_rows_without_images_beside_rows_with_them(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    encoder = build_encoder(preprocessor)
    text_only = encoder.encode(conversation(user("no picture"), assistant("ok")))
    pictured = encoder.encode(PICTURED[0])

    mixed, alone = collate(preprocessor, [text_only, pictured]), collate(preprocessor, [pictured])

    for name in set(mixed.inputs) - {"input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"}:
        assert torch.equal(mixed.inputs[name], alone.inputs[name]), name
    assert "pixel_values" not in collate(preprocessor, [text_only]).inputs


def test_padding_and_counts(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    encoder = build_encoder(preprocessor)
    short = encoder.encode(conversation(user("a"), assistant("b")))
    long = encoder.encode(conversation(user("a b c d e"), assistant("f g h i"), row=1))

    batch = collate(preprocessor, [short, long])

    padding = len(long) - len(short)
    assert batch.inputs["input_ids"].shape == batch.labels.shape == (2, len(long))
    assert batch.inputs["input_ids"][0, len(short) :].tolist() == [preprocessor.tokenizer.pad_token_id] * padding
    assert batch.inputs["attention_mask"].sum(1).tolist() == [len(short), len(long)]
    assert batch.labels[0, len(short) :].tolist() == [IGNORED] * padding
    assert batch.num_supervised == int((batch.labels[:, 1:] != IGNORED).sum())
    assert batch.num_tokens == len(short) + len(long)
    assert [str(source) for source in batch.sources] == ["rows.json, row 0", "rows.json, row 1"]
    assert set(batch.inputs) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3", "llava_onevision", "idefics3"])
def test_a_packed_batch_is_its_rows_end_to_end(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    encoder = build_encoder(preprocessor)
    examples = [encoder.encode(row) for row in PICTURED]
    lengths = [len(example) for example in examples]

    packed, padded = collate(preprocessor, examples, packed=True), collate(preprocessor, examples)

    assert packed.lengths == tuple(lengths)
    assert packed.num_tokens == padded.num_tokens == sum(lengths)
    ids = np.concatenate([example.input_ids for example in examples])
    assert packed.inputs["input_ids"].tolist() == [ids.tolist()]
    assert packed.inputs["position_ids"].tolist() == [[place for length in lengths for place in range(length)]]
    if examples[0].token_types is not None:
        types = np.concatenate([example.token_types for example in examples])
        name = "token_type_ids" if kind == "gemma3" else "mm_token_type_ids"
        assert packed.inputs[name].tolist() == [types.tolist()]
    per_token = {"input_ids", "attention_mask", "position_ids", "mm_token_type_ids", "token_type_ids"}
    assert packed.inputs.keys() - per_token == padded.inputs.keys() - per_token
    for name in packed.inputs.keys() - per_token:
        assert torch.equal(torch.as_tensor(packed.inputs[name]), torch.as_tensor(padded.inputs[name])), name
    assert "attention_mask" not in packed.inputs


def test_no_sample_predicts_the_first_token_of_the_next(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    example = build_encoder(preprocessor).encode(conversation(user("a"), assistant("b c")))
    all_supervised = replace(example, labels=example.input_ids)

    packed = collate(preprocessor, [all_supervised, all_supervised], packed=True)

    length = len(example)
    assert packed.labels[0, [0, length]].tolist() == [IGNORED, IGNORED]
    assert packed.num_supervised == 2 * all_supervised.num_supervised == 2 * (length - 1)
    assert packed.targets.tolist() == example.input_ids[1:].tolist() * 2
    assert packed.positions.tolist() == [*range(length - 1), *range(length, 2 * length - 1)]


LAYOUTS = [(True, True), (True, False), (False, False)]


@pytest.mark.parametrize(("packed", "shared"), LAYOUTS)
def test_every_layout_of_pairs_has_the_same_answers(
    packed: bool, shared: bool, preprocessor_of: PreprocessorOf
) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    pairs = paired(preprocessor)
    rows = [pair.answer(number) for pair in pairs for number in (0, 1)]

    batch = collate(preprocessor, pairs, packed=packed, shared=shared)

    assert answer_ids(batch) == [row.labels[row.labels != IGNORED].tolist() for row in rows]
    assert batch.answers is not None
    assert batch.answers.num_tokens == tuple(row.num_supervised for row in rows)
    assert batch.answers.verdicts is None
    assert batch.inputs["input_ids"].flatten()[batch.answers.ends].tolist() == [int(row.input_ids[-1]) for row in rows]
    assert batch.sources == tuple(pair.source for pair in pairs)
    assert batch.refs == (None, None)
    assert len(batch.inputs["image_grid_thw"]) == (1 if shared else 2)


def test_a_beginning_stands_once_before_its_answers(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    pairs = paired(preprocessor)

    batch = collate(preprocessor, pairs, packed=True, shared=True)

    assert batch.lengths == tuple(map(len, pairs))
    assert batch.branches == tuple(pair.branches for pair in pairs)
    assert batch.num_tokens == sum(map(len, pairs))
    assert batch.inputs["input_ids"].tolist() == [[int(token) for pair in pairs for token in pair.input_ids]]
    first, (chosen, rejected) = pairs[0].num_shared, pairs[0].branches
    counted = [*range(first + chosen), *range(first, first + rejected)]
    assert batch.inputs["position_ids"][0, : len(pairs[0])].tolist() == counted


def test_unshared_answers_are_rows_and_samples_of_their_own(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    pairs = paired(preprocessor)
    rows = [pair.answer(number) for pair in pairs for number in (0, 1)]

    packed, padded = collate(preprocessor, pairs, packed=True), collate(preprocessor, pairs)

    plainly_packed, plainly_padded = collate(preprocessor, rows, packed=True), collate(preprocessor, rows)
    for found, plain in ((packed, plainly_packed), (padded, plainly_padded)):
        assert (found.lengths, found.branches, found.num_tokens) == (plain.lengths, (), plain.num_tokens)
        assert found.inputs.keys() == plain.inputs.keys()
        assert all(torch.equal(found.inputs[name], plain.inputs[name]) for name in plain.inputs)
        assert torch.equal(found.positions, plain.positions)


@pytest.mark.parametrize(("packed", "shared"), LAYOUTS)
def test_judged_answers_come_with_another_rows_answer_beside_them(
    packed: bool, shared: bool, preprocessor_of: PreprocessorOf
) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    judged = paired(preprocessor, verdicts=(True, False))

    batch = collate(preprocessor, judged, packed=packed, shared=shared)

    assert batch.answers is not None and batch.answers.verdicts is not None
    assert batch.answers.verdicts.tolist() == [True, False]
    assert batch.branches == ()
    assert batch.mismatched is not None
    for number, laid in enumerate((batch, batch.mismatched)):
        plain = collate(preprocessor, [example.answer(number) for example in judged], packed=packed)
        assert torch.equal(laid.inputs["input_ids"], plain.inputs["input_ids"])
        assert torch.equal(laid.targets, plain.targets)
        assert (laid.lengths, laid.num_tokens) == (plain.lengths, plain.num_tokens)
    assert batch.mismatched.inputs["pixel_values"] is batch.inputs["pixel_values"]
    assert answer_ids(batch) == [row.labels[row.labels != IGNORED].tolist() for row in (e.answer(0) for e in judged)]
