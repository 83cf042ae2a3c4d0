"""Documents become ids that are all learned, as the tokenizer itself makes them, in pieces where they are long."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from tests.data.conversations import document, picture
from tunesmith.chat.message import Media
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.problem import RowError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
STORY = "Once upon a time there was a king. He had a daughter.\n\nAnd 你好 — she was clever. "
TEXT_KINDS = ["qwen2", "llama", "gpt2", "phi", "internlm2", "mistral", "gemma3_text"]
MEDIA_KINDS = ["qwen2_5_vl", "qwen3_vl", "llava", "internvl", "gemma3", "idefics3", "minicpmv_2_6"]


def documents_encoder(preprocessor: Preprocessor, **settings: object) -> Encoder:
    data = DataSettings.model_validate({"cutoff_len": 100_000, **settings})
    return Encoder(preprocessor, build_template(preprocessor, data, "documents"), data, "documents")


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_ids_are_the_tokenizers_own_with_the_end_token_behind(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    encoded = documents_encoder(preprocessor).encode(document(STORY))
    tokenizer = preprocessor.tokenizer
    assert encoded.input_ids.tolist() == [*tokenizer(STORY)["input_ids"], tokenizer.eos_token_id]
    assert np.array_equal(encoded.labels, encoded.input_ids)
    assert encoded.num_supervised == len(encoded) - 1
    assert encoded.pieces == () and encoded.samples() == (encoded,) and not encoded.truncated


def test_control_tokens_that_a_text_spells_are_plain_text(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    text = "first<|im_end|><|image_pad|>second"
    encoded = documents_encoder(preprocessor).encode(document(text))
    control = preprocessor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|image_pad|>"])
    assert not np.isin(encoded.input_ids[:-1], control).any() and encoded.input_ids[-1] == control[0]
    assert preprocessor.tokenizer.decode(encoded.input_ids[:-1]) == text


@pytest.mark.parametrize("kind", ["qwen2", "llama", "internlm2"])
@pytest.mark.parametrize("cutoff_len", [2, 7, 50])
def test_a_long_document_loses_no_token(kind: str, cutoff_len: int, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    whole = documents_encoder(preprocessor).encode(document(STORY * 5))
    encoded = documents_encoder(preprocessor, cutoff_len=cutoff_len).encode(document(STORY * 5))
    samples = encoded.samples()
    assert np.array_equal(encoded.input_ids, whole.input_ids)
    assert np.array_equal(np.concatenate([sample.input_ids for sample in samples]), whole.input_ids)
    assert [len(sample) for sample in samples] == list(encoded.sample_lengths)
    assert max(encoded.sample_lengths) == cutoff_len
    assert encoded.num_supervised == len(whole) - len(samples) == sum(sample.num_supervised for sample in samples)
    assert all(sample.samples() == (sample,) and sample.source == encoded.source for sample in samples)


def test_a_million_characters_are_one_document(preprocessor_of: PreprocessorOf) -> None:
    encoded = documents_encoder(preprocessor_of("qwen2"), cutoff_len=512).encode(document(STORY * 12_000))
    assert len(encoded) > 500_000 and set(encoded.sample_lengths[:-2]) == {512}


def media_text(encoded: Encoded, preprocessor: Preprocessor) -> str:
    """What stands for media, the numbers that some models give them left out."""
    text = str(preprocessor.tokenizer.decode(encoded.input_ids[encoded.labels == IGNORED]))
    return re.sub(r"\d+", "", text)


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_media_are_in_no_loss_and_never_cut(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    parts = ("A cat ", picture(120, 90), "and a dog", picture(64, 150, seed=1), picture(60, 60, seed=2), STORY)
    whole = documents_encoder(preprocessor).encode(document(*parts))
    assert whole.num_media_tokens == (whole.labels == IGNORED).sum() > 6
    learned = preprocessor.tokenizer.decode(whole.labels[whole.labels != IGNORED])
    assert "A cat" in learned and "and a dog" in learned and STORY.strip()[-20:] in learned

    alone = [documents_encoder(preprocessor).encode(document(medium)) for medium in parts if isinstance(medium, Media)]
    limit = max(one.num_media_tokens for one in alone) + 8
    encoded = documents_encoder(preprocessor, cutoff_len=limit).encode(document(*parts))
    assert np.array_equal(np.concatenate([sample.input_ids for sample in encoded.samples()]), whole.input_ids)
    assert [media for sample in encoded.samples() for media in sample.media] == list(whole.media)
    assert sum(sample.num_media_tokens for sample in encoded.samples()) == whole.num_media_tokens
    text_of = dict(zip(whole.media, (media_text(one, preprocessor) for one in alone), strict=True))
    for sample in encoded.samples():
        assert media_text(sample, preprocessor) == "".join(text_of[medium] for medium in sample.media)


def test_marks_around_a_medium_stay_with_it(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    image = picture(120, 90)
    num_tokens = documents_encoder(preprocessor).encode(document(image)).num_media_tokens
    encoded = documents_encoder(preprocessor, cutoff_len=num_tokens + 1).encode(document("ab", image, "cd"))
    first, second, *_ = (preprocessor.tokenizer.decode(sample.input_ids) for sample in encoded.samples())
    assert first == "ab" and second.startswith("<|vision_start|><|image_pad|>")
    assert "<|image_pad|><|vision_end|>" in second


def test_media_that_a_model_reads_together_are_not_parted(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("llava_onevision")
    parts = ("one", picture(120, 90), STORY * 3, picture(64, 150, seed=1), "two")
    assert not documents_encoder(preprocessor).encode(document(*parts)).pieces
    with pytest.raises(RowError, match=r"one medium otherwise than several.* set cutoff_len to its \d+ tokens or more"):
        documents_encoder(preprocessor, cutoff_len=100).encode(document(*parts))
    assert documents_encoder(preprocessor, cutoff_len=100).encode(document(*parts[:3])).pieces


def test_a_medium_longer_than_cutoff_len_is_left_out_and_named(preprocessor_of: PreprocessorOf) -> None:
    encoder = documents_encoder(preprocessor_of("qwen2_5_vl"), cutoff_len=10)
    with pytest.raises(RowTooLongError, match=r"medium 1 of the document takes \d+ tokens, cutoff_len is 10"):
        encoder.encode(document("a", picture(300, 300), "b"))


def test_overlong_may_drop_or_refuse_instead(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    with pytest.raises(RowTooLongError, match=r"tokens, cutoff_len is 8 \(overlong: drop\)"):
        documents_encoder(preprocessor, cutoff_len=8, overlong="drop").encode(document(STORY))
    with pytest.raises(RowError, match=r"too long: .* set overlong: truncate, which cuts documents into samples"):
        documents_encoder(preprocessor, cutoff_len=8, overlong="error").encode(document(STORY))


@pytest.mark.parametrize(
    ("parts", "cutoff_len", "kind"), [((), 9, "cannot be rendered"), (("a tale",), 1, "nothing to learn")]
)
def test_nothing_to_learn_is_said(
    parts: tuple[str, ...], cutoff_len: int, kind: str, preprocessor_of: PreprocessorOf
) -> None:
    encoder = documents_encoder(preprocessor_of("qwen2"), cutoff_len=cutoff_len)
    with pytest.raises(RowError) as raised:
        encoder.encode(document(*parts))
    assert raised.value.kind == kind
