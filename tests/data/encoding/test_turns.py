"""Prompts that a model answers by itself: what it is given, nothing to learn, nothing cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tunesmith.chat.message import Message
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.problem import RowError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]

IMAGE = picture(90, 60)
QUESTION = conversation(user(IMAGE, "1?"), assistant("one"), user("2?"))


@pytest.mark.parametrize("ending", [(), (assistant("two"),)])
def test_a_prompt_is_what_the_model_is_asked(ending: tuple[Message, ...], preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    row = replace(QUESTION, messages=(*QUESTION.messages, *ending))
    trace = build_encoder(preprocessor, "prompts").trace(row)
    asked = build_encoder(preprocessor).encode_prompt(QUESTION)
    assert np.array_equal(trace.encoded.input_ids, asked.input_ids)
    assert trace.encoded.num_supervised == 0 and trace.encoded.media == (IMAGE,)
    assert trace.conversation == row


def test_a_prompt_is_never_cut(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    row = conversation(user("long " * 100), assistant("ok"))
    with pytest.raises(RowTooLongError, match=r"the prompt has \d+ tokens, cutoff_len is 50; prompts are not cut"):
        build_encoder(preprocessor, "prompts", cutoff_len=50).encode(row)
    with pytest.raises(RowError, match="prompts are not cut") as raised:
        build_encoder(preprocessor, "prompts", cutoff_len=50, overlong="error").encode(row)
    assert not isinstance(raised.value, RowTooLongError)


def test_a_prompt_must_be_there_and_be_all_that_has_media(preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"), "prompts")
    with pytest.raises(RowError, match="the row has no prompt"):
        encoder.encode(conversation(assistant("ok")))
    with pytest.raises(RowError, match="may be text alone"):
        encoder.encode(conversation(user("draw"), Message("assistant", (IMAGE,))))
