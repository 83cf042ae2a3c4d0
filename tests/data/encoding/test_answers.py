"""A prompt with two answers: each exactly the model's own row, what they begin with once, only the answers learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.data.conversations import (
    apart,
    assistant,
    build_encoder,
    own_ids,
    pair,
    picture,
    supervised_text,
    user,
    without_added_end,
)
from tests.tiny import TEXT_KINDS, VISION_KINDS
from tunesmith.chat.message import Conversation, Message, Text, ToolCall
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.problem import RowError
from tunesmith.errors import UsageError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]

PAIRS = [
    pair(user("What is it?"), chosen="A red circle.", rejected="I do not know 🎵"),
    pair(user("And?"), chosen="Yes, I think so.", rejected="Yes, I think not."),
    pair(user("1?"), assistant("one"), user("  2?\n"), chosen="二。", rejected="二, or three: 👩‍🚀"),
    pair(user("same?"), chosen="same", rejected="same"),
    pair(Message("system", (Text("Be brief."),)), user("long?"), chosen="no", rejected="yes " * 50),
]


def assert_own_rows(preprocessor: Preprocessor, row: Conversation, encoded: Encoded) -> None:
    """Assert that both rows of `encoded` are what transformers makes of them, and stand in it as its lengths say."""
    for number, alone in enumerate(apart(row)):
        answer, own = encoded.answer(number), own_ids(preprocessor, alone)
        assert without_added_end(preprocessor, answer.input_ids, own) == own
        assert len(answer) == encoded.num_shared + encoded.branches[number]
        plain = build_encoder(preprocessor, mask_history=True).encode(alone)
        assert np.array_equal(answer.input_ids, plain.input_ids)
        assert np.array_equal(answer.labels, plain.labels)
        assert (answer.token_types is None) == (plain.token_types is None)
        assert plain.token_types is None or np.array_equal(answer.token_types, plain.token_types)
        assert (answer.media, answer.num_media_tokens) == (plain.media, plain.num_media_tokens)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_both_answers_of_text_models_are_their_own_rows(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    if preprocessor.chat_template is None:
        pytest.skip("a base model: it has no chat template of its own")
    encoder = build_encoder(preprocessor, "pairs")
    for row in PAIRS:
        assert_own_rows(preprocessor, row, encoder.encode(row))


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_both_answers_of_vision_models_are_their_own_rows(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    pictures = [picture(64, 64), picture(300, 90, seed=1), picture(120, 260, seed=2)]
    row = pair(
        *(user(pictures[0], pictures[1], "which?"), assistant("both"), user(pictures[2], "And this one?")),
        chosen="Blue, I think.",
        rejected="Blue, I am sure of it 🎵",
    )
    encoded = build_encoder(preprocessor, "pairs").encode(row)
    assert_own_rows(preprocessor, row, encoded)
    assert encoded.media == tuple(pictures)
    assert len(encoded) < len(encoded.answer(0)) + len(encoded.answer(1)) - encoded.num_media_tokens


def test_the_beginning_stands_once_and_only_the_last_answers_are_learned(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    row = pair(user("1?"), assistant("one"), user("2?"), chosen="two", rejected="too")
    encoded = build_encoder(preprocessor, "pairs", mask_history=False).encode(row)
    beginning = preprocessor.tokenizer.decode(encoded.input_ids[: encoded.num_shared])
    assert beginning.endswith("<|im_start|>user\n2?<|im_end|>\n<|im_start|>assistant\n")
    assert (encoded.labels[: encoded.num_shared] == IGNORED).all()
    assert supervised_text(preprocessor, encoded.answer(0)) == "two<|im_end|>"
    assert supervised_text(preprocessor, encoded.answer(1)) == "too<|im_end|>"
    assert encoded.num_supervised == encoded.answer(0).num_supervised + encoded.answer(1).num_supervised


def test_answers_that_begin_alike_are_learned_from_their_first_token(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    encoded = build_encoder(preprocessor, "pairs").encode(pair(user("ok?"), chosen="yes, I", rejected="yes, I"))
    assert encoded.branches[0] == encoded.branches[1]
    assert supervised_text(preprocessor, encoded.answer(1)) == "yes, I<|im_end|>"


def test_answers_may_be_thoughts_and_tool_calls(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    call = Message("assistant", (), tool_calls=(ToolCall("weather", {"city": "Rome"}),))
    row = pair(
        user("Weather in Rome?"), chosen=call, rejected=Message("assistant", (Text("Sunny."),), reasoning="It is Rome.")
    )
    encoded = build_encoder(preprocessor, "pairs", template="qwen3").encode(row)
    assert '"city": "Rome"' in supervised_text(preprocessor, encoded.answer(0))
    assert supervised_text(preprocessor, encoded.answer(1)).startswith("<think>\nIt is Rome.\n</think>")


def test_a_verdict_stays_with_the_row(preprocessor_of: PreprocessorOf) -> None:
    row = replace(pair(user("ok?"), chosen="yes", rejected="something else"), verdict=False)
    encoded = build_encoder(preprocessor_of("qwen2"), "verdicts").encode(row)
    assert encoded.verdict is False and len(encoded.branches) == 2
    assert build_encoder(preprocessor_of("qwen2"), "pairs").encode(PAIRS[0]).verdict is None


def test_a_trace_shows_each_row_apart(preprocessor_of: PreprocessorOf) -> None:
    trace = build_encoder(preprocessor_of("qwen2"), "pairs").trace(PAIRS[2])
    assert trace.conversation == PAIRS[2]
    assert [answer.conversation for answer in trace.answers] == list(apart(PAIRS[2]))
    for number, answer in enumerate(trace.answers):
        assert np.array_equal(answer.tokens.ids, trace.encoded.answer(number).input_ids)
        assert np.array_equal(answer.encoded.labels, trace.encoded.answer(number).labels)


def test_media_in_an_answer_are_refused(preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"), "pairs")
    drawn = Message("assistant", (Text("here: "), picture(64, 64)))
    for chosen, rejected in ((drawn, "no"), ("no", drawn), (drawn, drawn)):
        with pytest.raises(RowError, match="must stand before the answers"):
            encoder.encode(pair(user("draw"), chosen=chosen, rejected=rejected))


def test_rows_without_two_answers_to_learn_are_refused(preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2"), "pairs")
    with pytest.raises(RowError, match="learns from two"):
        encoder.encode(apart(PAIRS[0])[0])
    for unlearned in (replace(assistant("no"), supervised=False), ""):
        with pytest.raises(RowError, match="the rejected answer has no token in the loss: it is empty, or has loss"):
            encoder.encode(pair(user("ok?"), chosen="yes", rejected=unlearned))


def test_the_prompt_cannot_be_learned_from_answers(preprocessor_of: PreprocessorOf) -> None:
    for rows in ("pairs", "verdicts"):
        with pytest.raises(UsageError, match="train_on_prompt: true does not fit a stage that compares answers"):
            build_encoder(preprocessor_of("qwen2"), rows, train_on_prompt=True)


def test_too_long_pairs_are_left_out_or_refused_as_rows_are(preprocessor_of: PreprocessorOf) -> None:
    preprocessor, row = preprocessor_of("qwen2"), pair(user("ok?"), chosen="yes", rejected="no " * 100)
    with pytest.raises(RowTooLongError, match=r"tokens, cutoff_len is 60 \(overlong: drop\)"):
        build_encoder(preprocessor, "pairs", cutoff_len=60, overlong="drop").encode(row)
    with pytest.raises(RowError, match="set overlong: truncate or drop"):
        build_encoder(preprocessor, "pairs", cutoff_len=60, overlong="error").encode(row)
