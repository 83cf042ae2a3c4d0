"""A path without an entry: the format shows in the first rows."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.data.formats.recognise import recognise
from tunesmith.data.formats.table import FORMATS
from tunesmith.errors import DataError, NotSupportedYetError

SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
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
    rows = [{"conversations": OPENAI}, {"conversations": OPENAI, "image": "a.png"}]
    recognised = recognise(rows, media_folder=None)
    assert (recognised.layout.formatting, recognised.keys) == ("minicpmv", ("conversations", "image"))


def test_an_images_column_makes_placeholders_count_in_every_row() -> None:
    assert recognise([{"messages": OPENAI}], media_folder=None).layout.expects_media == frozenset()
    rows = [{"messages": OPENAI}, {"messages": OPENAI, "images": ["a.png"]}]
    assert recognise(rows, media_folder=None).layout.expects_media == {"image"}


@pytest.mark.parametrize(
    ("row", "stage"),
    [
        ({"conversations": SHAREGPT, "chosen": {}, "rejected": {}}, "stage: dpo"),
        ({"messages": OPENAI, "label": False}, "stage: kto"),
    ],
)
def test_data_for_other_stages_is_refused(row: dict[str, Any], stage: str) -> None:
    with pytest.raises(NotSupportedYetError, match=stage):
        recognise([row], media_folder=None)


def test_rows_of_no_known_format_are_named_by_their_keys() -> None:
    with pytest.raises(DataError, match=r"no format fits rows with the keys a, b; expected messages"):
        recognise([{"a": 1}, {"b": 2}], media_folder=None)
    with pytest.raises(DataError, match="the first rows are no objects"):
        recognise([], media_folder=None)
