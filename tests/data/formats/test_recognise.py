"""A path without an entry: the format shows in the first rows."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.chat.message import Media, Message, Text
from tunesmith.config.stages import RowKind
from tunesmith.data.formats.recognise import recognise
from tunesmith.data.formats.table import FORMATS, read_row
from tunesmith.errors import DataError

SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
WORSE_SHAREGPT = {"from": "gpt", "value": "what"}
OPENAI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.mark.parametrize(
    ("row", "formatting"),
    [
        ({"conversations": SHAREGPT}, "sharegpt"),
        ({"messages": SHAREGPT, "system": "s"}, "sharegpt"),
        ({"messages": OPENAI}, "openai"),
        ({"conversations": OPENAI}, "openai"),
        ({"id": "0", "image": None, "conversations": OPENAI}, "minicpmv"),
        ({"id": "0", "image": None, "conversations": SHAREGPT}, "llava"),
        ({"instruction": "hi", "input": "", "output": "hello"}, "alpaca"),
        ({"prompt": "hi", "response": "hello"}, "alpaca"),
        ({"question": "hi", "answer": "hello"}, "alpaca"),
        ({"input": "hi", "output": "hello"}, "alpaca"),
    ],
)
def test_each_format_is_recognised_and_reads_its_row(row: dict[str, Any], formatting: str) -> None:
    layout = recognise([row], media_folder=None).layout
    assert layout.formatting == formatting
    messages = FORMATS[formatting](row, layout).messages
    assert [message.text for message in messages if message.role != "system"] == ["hi", "hello"]


def test_the_keys_of_later_rows_count_too() -> None:
    rows: list[dict[str, Any]] = [{"conversations": OPENAI}, {"conversations": OPENAI, "image": "a.png"}]
    recognised = recognise(rows, media_folder=None)
    assert (recognised.layout.formatting, recognised.keys) == ("minicpmv", ("conversations", "image"))


def test_an_images_column_makes_placeholders_count_in_every_row() -> None:
    assert recognise([{"messages": OPENAI}], media_folder=None).layout.expects_media == frozenset()
    rows: list[dict[str, Any]] = [{"messages": OPENAI}, {"messages": OPENAI, "images": ["a.png"]}]
    assert recognise(rows, media_folder=None).layout.expects_media == {"image"}


ANSWER = {"role": "assistant", "content": "hello"}
WORSE = {"role": "assistant", "content": "what"}


@pytest.mark.parametrize(
    ("row", "formatting"),
    [
        ({"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": WORSE_SHAREGPT}, "sharegpt"),
        ({"instruction": "hi", "input": "", "chosen": "hello", "rejected": "what"}, "alpaca"),
        ({"question": "hi", "chosen": "hello", "rejected": "what"}, "alpaca"),
        ({"prompt": "hi", "chosen": "hello", "rejected": "what"}, "alpaca"),
        ({"prompt": OPENAI[:1], "chosen": [ANSWER], "rejected": [WORSE]}, "openai"),
        ({"messages": OPENAI[:1], "chosen": ANSWER, "rejected": WORSE}, "openai"),
        ({"chosen": OPENAI, "rejected": [OPENAI[0], WORSE]}, "openai"),
        ({"chosen": SHAREGPT, "rejected": [SHAREGPT[0], WORSE_SHAREGPT]}, "sharegpt"),
        # HuggingFaceH4/ultrafeedback_binarized: the prompt again as text, the chosen conversation again as messages
        ({"prompt": "hi", "chosen": OPENAI, "rejected": [OPENAI[0], WORSE], "messages": OPENAI}, "openai"),
        ({"conversations": OPENAI[:1], "chosen": ANSWER, "rejected": WORSE, "image": None}, "minicpmv"),
    ],
)
def test_pairs_are_recognised_and_read(row: dict[str, Any], formatting: str) -> None:
    layout = recognise([row], media_folder=None, wanted="pairs").layout
    assert layout.formatting == formatting
    conversation = read_row(row, layout)
    assert [message.text for message in conversation.messages] == ["hi", "hello"]
    assert conversation.other_answer is not None and conversation.other_answer.text == "what"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": OPENAI, "label": True},
        {"conversations": SHAREGPT, "kto_tag": True},
        {"prompt": "hi", "completion": "hello", "label": True},
        {"prompt": OPENAI[:1], "completion": OPENAI[1:], "label": True},
        {"instruction": "hi", "input": "", "output": "hello", "kto_tag": True},
    ],
)
def test_verdicts_are_recognised_and_read(row: dict[str, Any]) -> None:
    conversation = read_row(row, recognise([row], media_folder=None, wanted="verdicts").layout)
    assert [message.text for message in conversation.messages] == ["hi", "hello"]
    assert conversation.verdict is True


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"messages": OPENAI}, ["hi", "hello"]),
        ({"messages": OPENAI[:1]}, ["hi"]),
        ({"messages": OPENAI[:1], "solution": "hello"}, ["hi", "hello"]),
        ({"prompt": "hi"}, ["hi"]),
        ({"prompt": OPENAI[:1], "ground_truth": "hello"}, ["hi", "hello"]),
        ({"problem": "6 * 7?", "answer": 42}, ["6 * 7?", "42"]),
        ({"question": "hi", "answer": "hello"}, ["hi", "hello"]),
        ({"instruction": "hi", "input": "there", "output": "hello"}, ["hi\nthere", "hello"]),
    ],
)
def test_prompts_are_recognised_with_their_reference_answers(row: dict[str, Any], texts: list[str]) -> None:
    conversation = read_row(row, recognise([row], media_folder=None, wanted="prompts").layout)
    assert [message.text for message in conversation.messages] == texts


@pytest.mark.parametrize("column", ["text", "content", "raw_content", "document"])
def test_documents_are_recognised_by_the_column_of_their_text(column: str) -> None:
    row = {column: "Once upon a time.", "url": "http://a.b", "date": None}
    conversation = read_row(row, recognise([row], media_folder=None, wanted="documents").layout)
    assert conversation.messages == (Message("assistant", (Text("Once upon a time."),)),)


def test_a_picture_and_its_caption_in_a_tar_are_a_document() -> None:
    row = {"__key__": "1", "jpg": b"jpeg", "txt": "A cat.", "images": [b"jpeg"]}
    conversation = read_row(row, recognise([row], media_folder=None, wanted="documents").layout)
    assert conversation.messages[0].parts == (Media("image", b"jpeg"), Text("A cat."))


def test_a_lone_image_column_is_the_picture_of_the_question() -> None:
    asked = {"question": "What is it?", "answer": "A cat.", "image": b"png"}
    conversation = read_row(asked, recognise([asked], media_folder=None).layout)
    assert conversation.messages[0].parts == (Media("image", b"png"), Text("What is it?"))
    row = {"question": "What is it?", "chosen": "A cat.", "rejected": "A dog.", "image": {"bytes": b"png", "path": "a"}}
    conversation = read_row(row, recognise([row], media_folder=None, wanted="pairs").layout)
    assert conversation.messages[0].parts == (Media("image", b"png"), Text("What is it?"))


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"prompt": "hi", "response": "hello"}, "pairs"),
        ({"messages": OPENAI}, "verdicts"),
        ({"messages": OPENAI}, "documents"),
        ({"text": "a"}, "prompts"),
    ],
)
def test_rows_without_what_is_wanted_are_an_error(row: dict[str, Any], wanted: RowKind) -> None:
    with pytest.raises(DataError, match="no format fits rows with the keys"):
        recognise([row], media_folder=None, wanted=wanted)


def test_rows_of_no_known_format_are_named_by_their_keys() -> None:
    with pytest.raises(DataError, match=r"no format fits rows with the keys a, b; expected messages"):
        recognise([{"a": 1}, {"b": 2}], media_folder=None)
    with pytest.raises(DataError, match="the first rows are no objects"):
        recognise([], media_folder=None)
