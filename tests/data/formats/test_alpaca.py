"""alpaca rows: one question, one answer, earlier rounds in history."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.chat.message import Conversation, Media, Message, Text
from tunesmith.data.formats.alpaca import read_alpaca
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.problem import RowError

LAYOUT = Layout("alpaca", Columns(history="history", system="system", tools="tools"))


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in conversation.messages]


@pytest.mark.parametrize(
    ("instruction", "given", "question"),
    [("Add.", "1 2", "Add.\n1 2"), ("Add.", "", "Add."), ("", "1 2", "1 2"), ("Add.", None, "Add."), ("", "", "")],
)
def test_instruction_and_input_stand_on_lines_of_their_own(instruction: str, given: str | None, question: str) -> None:
    conversation = read_alpaca({"instruction": instruction, "input": given, "output": "3"}, LAYOUT)
    assert said(conversation) == [("user", question), ("assistant", "3")]


def test_system_and_history_come_first_and_history_answers_are_trained() -> None:
    row = {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]}
    conversation = read_alpaca(row, LAYOUT)
    assert said(conversation) == [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert all(message.supervised for message in conversation.messages)


def test_lists_may_stand_as_json_text_as_in_csv_files() -> None:
    row = {"instruction": "c", "output": "d", "history": '[["a", "b"]]', "tools": '[{"name": "f"}]'}
    conversation = read_alpaca(row, LAYOUT)
    assert said(conversation)[0] == ("user", "a")
    assert conversation.tools == ({"type": "function", "function": {"name": "f"}},)


def test_an_empty_system_column_is_no_system_message() -> None:
    assert said(read_alpaca({"instruction": "a", "output": "b", "system": ""}, LAYOUT))[0] == ("user", "a")


def test_text_with_placeholders_and_braces_is_left_alone_in_a_text_dataset() -> None:
    row = {"instruction": "Explain <image> in HTML, {{idx}} and {{name}}.", "output": "<video> too"}
    assert read_alpaca(row, LAYOUT).messages == (
        Message("user", (Text("Explain <image> in HTML, {{idx}} and {{name}}."),)),
        Message("assistant", (Text("<video> too"),)),
    )


def test_videos_and_audio_clips_stand_in_columns() -> None:
    layout = Layout(columns=Columns(videos="videos", audios="audios"), expects_media=frozenset({"video", "audio"}))
    row = {"instruction": "<video>What?", "input": "<audio>", "output": "b", "videos": [b"mp4"], "audios": b"wav"}
    assert read_alpaca(row, layout).messages[0].parts == (
        Media("video", b"mp4"),
        Text("What?\n"),
        Media("audio", b"wav"),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"output": "b"}, "no question: there is no column 'instruction' (columns here: output)"),
        ({"instruction": "a"}, "no answer: there is no column 'output' (columns here: instruction)"),
        ({"instruction": "a", "output": None}, "wrong type: output is null; expected text"),
        ({"instruction": "a", "output": " \n"}, "empty answer: message 1 (assistant) has no text and no tool call"),
        ({"instruction": ["a"], "output": "b"}, "wrong type: instruction is a list"),
        ({"instruction": "a", "output": 3}, "wrong type: output is a number ('3'); expected text"),
        ({"instruction": "a", "output": "b", "history": [["q"]]}, "wrong type: history[0] is a list"),
        ({"instruction": "a", "output": "b", "tools": "[{"}, "broken JSON: tools is not JSON"),
        ({"instruction": "a", "output": "b", "tools": [1]}, "wrong tool: tools[0] is a number"),
        ({"instruction": "a", "output": "half \ud83d"}, "broken text: message 1 (assistant) holds half a character"),
    ],
)
def test_bad_rows_say_what_is_wrong(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_alpaca(row, LAYOUT)
    assert reason in str(caught.value)
