"""Rows whose answers are compared: pairs in every format, judged answers, prompts, and what is wrong with some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.chat.message import Conversation, Media, MediaKind, Message, Text, ToolCall
from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout
from tunesmith.data.formats.table import read_row
from tunesmith.data.problem import RowError
from tunesmith.data.rows.sources import DataFile

SHAREGPT = Layout("sharegpt", Columns(system="system", tools="tools", images="images"), rows="pairs")
ALPACA = Layout("alpaca", Columns(history="history", system="system", images="images"), rows="pairs")
OPENAI = Layout("openai", Columns(messages="prompt", images="images"), OPENAI_TAGS, rows="pairs")
IMAGE: frozenset[MediaKind] = frozenset({"image"})


def human(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def said(conversation: Conversation) -> tuple[list[str], str | None]:
    """The texts of the messages, and that of the other answer."""
    other = conversation.other_answer
    return [message.text for message in conversation.messages], other.text if other else None


def test_a_sharegpt_ranking() -> None:
    row = {"conversations": [human("a"), gpt("b"), human("c")], "chosen": gpt("good"), "rejected": gpt("bad")}
    conversation = read_row(row, SHAREGPT)
    assert said(conversation) == (["a", "b", "c", "good"], "bad")
    assert said(conversation.with_other_answer) == (["a", "b", "c", "bad"], None)
    assert said(read_row({**row, "system": "s"}, SHAREGPT))[0][0] == "s"


def test_an_answer_may_call_tools() -> None:
    call = {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'}
    row = {"conversations": [human("1 + 1?")], "chosen": call, "rejected": gpt("3"), "tools": '[{"name": "add"}]'}
    conversation = read_row(row, SHAREGPT)
    assert conversation.messages[-1].tool_calls == (ToolCall("add", {"a": 1}),)
    assert conversation.tools[0]["function"] == {"name": "add"}


def test_an_alpaca_ranking() -> None:
    row = {"instruction": "q", "input": "i", "history": [["a", "b"]], "chosen": "good", "rejected": "bad"}
    assert said(read_row(row, ALPACA)) == (["a", "b", "q\ni", "good"], "bad")
    messages = {**row, "chosen": assistant("good"), "rejected": [assistant("bad")]}
    assert said(read_row(messages, ALPACA)) == (["a", "b", "q\ni", "good"], "bad")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": [user("q")], "chosen": "good", "rejected": "bad"},
        {"prompt": [user("q")], "chosen": assistant("good"), "rejected": assistant("bad")},
        {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        {"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
        {"prompt": "q", "chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
        {"prompt": [user("q")], "chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
    ],
)
def test_every_way_in_which_trl_writes_a_pair(row: dict[str, Any]) -> None:
    assert said(read_row(row, OPENAI)) == (["q", "good"], "bad")


def test_whole_conversations_share_all_but_the_last_message() -> None:
    before = [{"role": "system", "content": "s"}, user("a"), assistant("b"), user("c")]
    row = {"chosen": [*before, assistant("same")], "rejected": [*before, assistant("same")]}
    assert said(read_row(row, OPENAI)) == (["s", "a", "b", "c", "same"], "same")
    continued = {
        "prompt": before[:2],
        "chosen": [*before[2:], assistant("x")],
        "rejected": [*before[2:], assistant("y")],
    }
    assert said(read_row(continued, OPENAI)) == (["s", "a", "b", "c", "x"], "y")


def test_the_system_column_stands_before_whole_conversations() -> None:
    layout = replace(OPENAI, columns=replace(OPENAI.columns, system="system"))
    row = {"system": "s", "chosen": [user("q"), assistant("x")], "rejected": [user("q"), assistant("y")]}
    assert said(read_row(row, layout)) == (["s", "q", "x"], "y")
    assert said(read_row({**row, "prompt": "q"}, layout)) == (["s", "q", "x"], "y")


def test_text_that_begins_like_a_list_is_a_prompt() -> None:
    row = {"prompt": "[INST] q", "chosen": "good", "rejected": "bad"}
    assert said(read_row(row, OPENAI)) == (["[INST] q", "good"], "bad")


def test_rlhf_v_with_several_images_and_turns(tmp_path: Path) -> None:
    """Parquet, images as bytes, the shape of llamafactory/RLHF-V."""
    row = {
        "conversations": [human("<image>What?"), gpt("A cat."), human("And <image>?")],
        "chosen": gpt("A dog."),
        "rejected": gpt("Two dogs."),
        "images": [{"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": "2.jpg"}],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (addresses,) = (file := DataFile("rows.parquet", tmp_path / "rows.parquet").open()).blocks()
    conversation = read_row(file.read(tuple(addresses[0].tolist())), replace(SHAREGPT, expects_media=IMAGE))
    assert conversation.messages[0].parts == (Media("image", b"one"), Text("What?"))
    assert conversation.messages[2].parts == (Text("And "), Media("image", b"two"), Text("?"))
    assert list(conversation.with_other_answer.media()) == [Media("image", b"one"), Media("image", b"two")]


def test_images_that_no_turn_mentions_stand_before_the_question() -> None:
    row = {"prompt": [user("q")], "chosen": "good", "rejected": "bad", "images": [b"one", b"two"]}
    parts = read_row(row, OPENAI).messages[0].parts
    assert parts == (Media("image", b"one"), Media("image", b"two"), Text("q"))
    alpaca = {"instruction": "q", "chosen": "good", "rejected": "bad", "images": b"one", "system": "s"}
    assert read_row(alpaca, ALPACA).messages[1].parts == (Media("image", b"one"), Text("q"))


def test_minicpmv_and_llava_rows_hold_pairs_too() -> None:
    row = {"image": b"one", "conversations": [user("q")], "chosen": assistant("good"), "rejected": assistant("bad")}
    assert read_row(row, Layout("minicpmv", rows="pairs")).messages[0].parts == (Media("image", b"one"), Text("\nq"))
    llava = {"image": b"one", "conversations": [human("<image>q")], "chosen": gpt("good"), "rejected": gpt("bad")}
    assert said(read_row(llava, Layout("llava", rows="pairs"))) == (["q", "good"], "bad")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "a"}, "no answer: there is no column 'rejected' (columns here: prompt, chosen)"),
        (
            {"prompt": "q", "chosen": "a", "rejected": None},
            "no answer: rejected is empty (null); expected text or a mes",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": " "}, "empty answer: the rejected answer has no text"),
        ({"prompt": "q", "chosen": "", "rejected": "b"}, "empty answer: message 1 (assistant) has no text"),
        (
            {"prompt": "q", "chosen": 3, "rejected": "b"},
            "wrong type: chosen is a number ('3'); expected text or a mess",
        ),
        ({"prompt": "q", "chosen": [], "rejected": "b"}, "wrong type: chosen is a list"),
        ({"prompt": "q", "chosen": ["a"], "rejected": "b"}, "wrong type: chosen is the text 'a'; expected a message"),
        ({"prompt": "q", "chosen": user("a"), "rejected": "b"}, "wrong role order: chosen ends with a user message"),
        (
            {"prompt": "q", "chosen": [assistant("a"), user("b"), assistant("c")], "rejected": "b"},
            "several messages: chosen has 3 messages; expected one answer",
        ),
        (
            {"chosen": [user("q"), assistant("a")], "rejected": [user("p"), assistant("b")]},
            "several messages: chosen has 2 messages; expected one answer",
        ),
        (
            {"chosen": [user("q"), assistant("a"), user("r"), assistant("a")], "rejected": [user("q"), assistant("b")]},
            "several messages: chosen has 3 messages after the messages that both share; expected one answer",
        ),
        ({"chosen": "a", "rejected": "b"}, "no question: nothing stands before the answers"),
        (
            {"prompt": "p", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
            "two prompts: the answers begin with 'q' while the prompt is 'p'",
        ),
        (
            {"prompt": [user("q"), assistant("a")], "chosen": "b", "rejected": "c"},
            "wrong role order: message 2 is an assistant message after an assistant message",
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": {**assistant("b"), "loss": False}},
            "nothing to learn: an answer that is compared has loss switched off",
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "\ud83d"},
            "broken text: the rejected answer holds half a character",
        ),
    ],
)
def test_pairs_that_cannot_be_used_say_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row, OPENAI)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "answers",
    [
        {"chosen": "<image> here", "rejected": "b"},
        {"chosen": "a", "rejected": [assistant([{"type": "image", "image": b"two"}])]},
    ],
)
def test_media_belong_to_the_prompt(answers: dict[str, Any]) -> None:
    row = {"prompt": "<image>q", "images": [b"one"], **answers}
    with pytest.raises(RowError, match=r"image in an answer: .* move it to the prompt, which the answers share"):
        read_row(row, OPENAI)


VERDICTS = Layout(
    "openai", Columns(messages="prompt", response="completion", kto_tag="label"), OPENAI_TAGS, rows="verdicts"
)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a"},
        {"prompt": [user("q")], "completion": "a"},
        {"prompt": [user("q")], "completion": [assistant("a")]},
        {"prompt": [user("q")], "completion": [user("q"), assistant("a")]},
        {"prompt": [user("q"), assistant("a")]},
    ],
)
def test_every_way_in_which_trl_writes_a_verdict(row: dict[str, Any]) -> None:
    conversation = read_row({**row, "label": True}, VERDICTS)
    assert said(conversation) == (["q", "a"], None)
    assert conversation.verdict is True


@pytest.mark.parametrize(
    ("value", "verdict"), [(True, True), (False, False), (1, True), (0, False), ("True", True), (" false", False)]
)
def test_what_a_verdict_may_be_written_as(value: object, verdict: bool) -> None:
    assert read_row({"prompt": "q", "completion": "a", "label": value}, VERDICTS).verdict is verdict


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "no verdict: label is absent (columns here: prompt, completion); expected true (a good answer) or false"),
        ({"label": None}, "no verdict: label is null"),
        ({"label": 2}, "no verdict: label is a number ('2')"),
        ({"label": "good"}, "no verdict: label is the text 'good'"),
        ({"label": []}, "no verdict: label is a list"),
    ],
)
def test_rows_without_a_verdict(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row({"prompt": "q", "completion": "a", **more}, VERDICTS)
    assert reason in str(caught.value)


PROMPTS = Layout("openai", Columns(messages="prompt", response="solution"), OPENAI_TAGS, rows="prompts")


@pytest.mark.parametrize(
    ("solution", "texts"),
    [("42", ["q", "42"]), (42, ["q", "42"]), (0.5, ["q", "0.5"]), (["a"], ["q", '["a"]']), (None, ["q"]), ("", ["q"])],
)
def test_the_reference_answer_is_the_last_message(solution: object, texts: list[str]) -> None:
    conversation = read_row({"prompt": "q", "solution": solution}, PROMPTS)
    assert [message.text for message in conversation.messages] == texts


def test_a_prompt_may_end_with_the_question_or_a_tools_result_but_not_be_empty() -> None:
    layout = replace(PROMPTS, columns=Columns(messages="prompt"))
    call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}
    result = {"role": "tool", "content": "3"}
    assert read_row({"prompt": [user("q")]}, layout).messages == (Message("user", (Text("q"),)),)
    assert read_row({"prompt": [user("q"), call, result]}, layout).messages[-1].role == "tool"
    with pytest.raises(RowError, match="no answer: there is no assistant message"):
        read_row({"prompt": [{"role": "system", "content": "s"}]}, layout)


def test_a_prompt_and_its_completion_are_a_conversation_too() -> None:
    layout = replace(VERDICTS, rows="conversations")
    row = {"prompt": [user("q")], "completion": [assistant("a"), user("r"), assistant("b")]}
    assert said(read_row(row, layout)) == (["q", "a", "r", "b"], None)
