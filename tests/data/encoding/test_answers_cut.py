"""Two answers that do not fit cutoff_len: the same prompt for both, the oldest turns first, never inside a medium."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conversations import apart, assistant, build_encoder, pair, picture, user
from tunesmith.chat.message import Conversation, Media, Message
from tunesmith.data.encoding.encode import Encoder
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.trace import RowTooLongError, Trace
from tunesmith.data.encoding.truncate import CUT_MARK, cut_other_answer, cut_to_fit
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]

TEXTS = st.text(alphabet="ab c\n二🎵", min_size=1, max_size=90).map(lambda text: f"x{text}y")
IMAGES = (picture(64, 64), picture(300, 90, seed=1))


def judged(row: Conversation, verdict: bool) -> Conversation:
    return replace(row, verdict=verdict)


def measure(conversation: Conversation) -> int:
    """A token a character, five a turn, of the longer answer where there are two."""
    if conversation.other_answer is not None:
        return max(map(measure, apart(conversation)))
    return sum(len(message.text) + 5 for message in conversation.messages)


def texts_of(conversation: Conversation) -> list[str]:
    assert conversation.other_answer is not None
    return [*(message.text for message in conversation.messages), conversation.other_answer.text]


def test_the_oldest_exchanges_go_first() -> None:
    row = pair(user("1?"), assistant("one" * 9), user("2?"), assistant("two"), user("3?"), chosen="3", rejected="drei")
    cut = cut_to_fit(row, limit=40, measure=measure, keep_last=True)
    assert cut is not None
    assert texts_of(cut.conversation) == ["2?", "two", "3?", "3", "drei"]
    assert cut.detail == "1 of 3 exchanges cut"


def test_then_the_prompt_loses_its_middle_for_the_longer_answer() -> None:
    row = pair(user("q" * 300), chosen="short", rejected="r" * 50)
    cut = cut_to_fit(row, limit=200, measure=measure, keep_last=True)
    assert cut is not None
    question, chosen, rejected = texts_of(cut.conversation)
    assert (chosen, rejected) == ("short", "r" * 50) and CUT_MARK in question
    assert measure(cut.conversation) == 200


def test_then_each_answer_that_is_too_long_loses_its_end() -> None:
    row = pair(user("why?"), chosen="c" * 300, rejected="short")
    cut = cut_to_fit(row, limit=100, measure=measure, keep_last=True)
    assert cut is not None
    assert texts_of(cut.conversation) == ["why?", "c" * 86, "short"]
    assert cut.detail == "the end of an answer cut"


def test_tool_turns_before_the_answers_stay() -> None:
    row = pair(
        *(user("q?"), assistant("looking" * 9), Message("tool", user("r" * 200).parts)), chosen="found", rejected="no"
    )
    cut = cut_to_fit(row, limit=170, measure=measure, keep_last=True)
    assert cut is not None
    assert [message.role for message in cut.conversation.messages] == ["user", "assistant", "tool", "assistant"]
    assert texts_of(cut.conversation)[-2:] == ["found", "no"]


def test_another_rows_answer_loses_its_end_alone() -> None:
    row = judged(pair(user("q" * 100), chosen="own", rejected="other" * 30), True)
    cut = cut_other_answer(row, limit=150, measure=lambda candidate: measure(replace(candidate, other_answer=None)))
    assert cut is not None
    assert cut.messages == row.messages and measure(cut) == 150


def assert_fits(trace: Trace, encoder: Encoder, limit: int) -> None:
    """Each answer fits with its prompt, ends as an answer does, and is what its cut row encodes to."""
    encoded = trace.encoded
    prompts = {answer.conversation.messages[:-1] for answer in trace.answers}
    assert len(prompts) == 1
    assert (encoded.labels[: encoded.num_shared] == IGNORED).all()
    plain_encoder = build_encoder(encoder.preprocessor, mask_history=True)
    for number, answer in enumerate(trace.answers):
        row = encoded.answer(number)
        assert len(row) <= limit
        learned = row.labels[row.labels != IGNORED]
        assert learned[-1] == encoder.preprocessor.tokenizer.eos_token_id
        plain = plain_encoder.encode(answer.conversation)
        assert np.array_equal(row.input_ids, plain.input_ids) and np.array_equal(row.labels, plain.labels)


@pytest.fixture(scope="module")
def qwen(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(TEXTS, min_size=1, max_size=5), answers=st.tuples(TEXTS, TEXTS), limit=st.integers(40, 200))
def test_any_pair_fits_any_limit_or_is_left_out(
    turns: list[str], answers: tuple[str, str], limit: int, qwen: Preprocessor
) -> None:
    odd = turns if len(turns) % 2 else turns[:-1]
    prompt = [user(text) if index % 2 == 0 else assistant(text) for index, text in enumerate(odd)]
    row = pair(*prompt, chosen=answers[0], rejected=answers[1])
    encoder = build_encoder(qwen, "pairs", cutoff_len=limit)
    whole = build_encoder(qwen, "pairs").encode(row)
    try:
        trace = encoder.trace(row)
    except RowTooLongError:
        assert max(len(whole.answer(0)), len(whole.answer(1))) > limit
        return
    assert_fits(trace, encoder, limit)
    fits = max(len(whole.answer(0)), len(whole.answer(1))) <= limit
    assert (trace.cut is None) == fits and trace.encoded.truncated == (not fits)
    if fits:
        assert np.array_equal(trace.encoded.input_ids, whole.input_ids)


def test_no_limit_cuts_into_a_medium(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    row = pair(
        *(user(IMAGES[0], "1? " * 20), assistant("one " * 9), user(IMAGES[1], "2? " * 30)),
        chosen="two " * 20,
        rejected="too " * 30,
    )
    media_of: dict[tuple[Media, ...], set[int]] = {}
    for limit in (40, 60, 90, 120, 150, 200, 260, 320, 400):
        encoder = build_encoder(preprocessor, "pairs", cutoff_len=limit)
        try:
            trace = encoder.trace(row)
        except RowTooLongError as left_out:
            assert "too little of it may be cut" in left_out.detail
            continue
        assert_fits(trace, encoder, limit)
        kept = tuple(media for media in trace.encoded.media if isinstance(media, Media))
        media_of.setdefault(kept, set()).add(trace.encoded.num_media_tokens)
    assert set(media_of) == {IMAGES[1:], IMAGES}
    assert all(len(counts) == 1 for counts in media_of.values())


def test_a_judged_row_is_not_cut_for_the_sake_of_another_rows_answer(qwen: Preprocessor) -> None:
    row = judged(pair(user("why? " * 10), chosen="because.", rejected="other " * 200), True)
    alone = build_encoder(qwen, mask_history=True).encode(apart(row)[0])
    for overlong in ("truncate", "drop", "error"):
        limit = len(alone) + 4
        encoder = build_encoder(qwen, "verdicts", cutoff_len=limit, overlong=overlong)
        trace = encoder.trace(row)
        assert_fits(trace, encoder, limit)
        assert np.array_equal(trace.encoded.answer(0).input_ids, alone.input_ids)
        assert not trace.encoded.truncated
        assert trace.cut is not None and trace.cut.kind == "comparison"


def test_a_judged_row_that_is_too_long_is_cut_by_its_own_answer(qwen: Preprocessor) -> None:
    row = judged(pair(user("why? " * 200), chosen="because.", rejected="other " * 10), False)
    encoder = build_encoder(qwen, "verdicts", cutoff_len=120)
    trace = encoder.trace(row)
    plain = build_encoder(qwen, mask_history=True, cutoff_len=120).encode(apart(row)[0])
    assert_fits(trace, encoder, 120)
    assert np.array_equal(trace.encoded.answer(0).input_ids, plain.input_ids)
    assert trace.encoded.truncated and trace.encoded.verdict is False
    with pytest.raises(RowTooLongError, match="overlong: drop"):
        build_encoder(qwen, "verdicts", cutoff_len=120, overlong="drop").encode(row)


def test_an_answer_of_which_nothing_fits_leaves_the_pair_out(preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"), "pairs", cutoff_len=90)
    with pytest.raises(RowTooLongError, match="too little of it may be cut; its media alone take 64"):
        encoder.encode(pair(user(picture(400, 400), "what?"), chosen="ok", rejected="no"))


def test_the_length_of_a_pair_is_what_its_tree_holds(qwen: Preprocessor) -> None:
    encoded: Encoded = build_encoder(qwen, "pairs", cutoff_len=100).encode(
        pair(user("ok?"), chosen="yes " * 100, rejected="no " * 100)
    )
    assert len(encoded) == encoded.num_shared + sum(encoded.branches) > 100
    assert max(encoded.branches) + encoded.num_shared <= 100
