"""What a model's documents begin and end with, and how it writes media in them, learned from the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.data.conversations import conversation, document, picture, user
from tunesmith.chat.document import MediumForm
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.document_form import learn_document_form
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.mark.parametrize(
    ("kind", "begin", "end"),
    [
        ("qwen2", "", "<|im_end|>"),
        ("llama", "<|begin_of_text|>", "<|eot_id|>"),
        ("gpt2", "<|endoftext|>", "<|endoftext|>"),
        ("internlm2", "<s>", "</s>"),
    ],
)
def test_the_tokenizer_says_how_a_document_begins_and_ends(
    kind: str, begin: str, end: str, preprocessor_of: PreprocessorOf
) -> None:
    preprocessor = preprocessor_of(kind)
    form = learn_document_form(preprocessor, build_template(preprocessor, DataSettings(), "documents"))
    assert (form.begin.strip(), form.end) == (begin, end)


def test_media_are_written_as_the_chat_template_does(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    form = learn_document_form(preprocessor, build_template(preprocessor, DataSettings(), "documents"))
    assert form.media == {
        "image": MediumForm("<|image_pad|>", "<|vision_start|>", "<|vision_end|>"),
        "video": MediumForm("<|video_pad|>", "<|vision_start|>", "<|vision_end|>"),
    }
    written = preprocessor.tokenizer.decode(_encoder(preprocessor).encode(document("see: ", picture(56, 56))).input_ids)
    assert written == "see: <|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|><|im_end|>"


def test_without_an_end_token_nothing_ends_a_document(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    tokenizer = type(preprocessor.tokenizer).from_pretrained(preprocessor.tokenizer.name_or_path)
    tokenizer.eos_token = None
    endless = replace(preprocessor, tokenizer=tokenizer)
    encoded = _encoder(endless).encode(document("a tale"))
    assert encoded.input_ids.tolist() == tokenizer("a tale")["input_ids"]


@pytest.mark.parametrize("kind", ["gpt2", "phi"])
def test_a_base_model_is_asked_as_documents_begin(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    asked = _encoder(preprocessor).encode_prompt(conversation(user("Once upon")))
    assert asked.input_ids.tolist() == preprocessor.tokenizer("Once upon")["input_ids"]


def _encoder(preprocessor: Preprocessor) -> Encoder:
    data = DataSettings(cutoff_len=1000)
    return Encoder(preprocessor, build_template(preprocessor, data, "documents"), data, "documents")
