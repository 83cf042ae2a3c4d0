"""openai rows: parts, tool calls, thoughts, and none of the damage LLaMA-Factory's reader does."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tunesmith.chat.message import Media, Message, Text, ToolCall
from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout
from tunesmith.data.formats.openai import read_openai
from tunesmith.data.problem import RowError

LAYOUT = Layout("openai", Columns(tools="tools", images="images"), OPENAI_TAGS)
USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
TOOL = {"role": "tool", "content": "2", "tool_call_id": "1"}


def calling(arguments: Any, **more: Any) -> dict[str, Any]:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call], **more}


def row_of(*messages: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"messages": list(messages), **columns}


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    return file.getvalue()


def test_messages_come_out_as_they_are_without_a_system_prompt_of_ours() -> None:
    assert read_openai(row_of(USER, ASSISTANT), LAYOUT).messages == (
        Message("user", (Text("hi"),)),
        Message("assistant", (Text("hello"),)),
    )


@pytest.mark.parametrize("arguments", ['{"a": "1"}', {"a": "1"}])
def test_arguments_are_an_object_and_text_beside_calls_stays(arguments: Any) -> None:
    conversation = read_openai(row_of(USER, calling(arguments, content="Adding."), TOOL, TOOL, ASSISTANT), LAYOUT)
    assert conversation.messages[1] == Message(
        "assistant", (Text("Adding."),), tool_calls=(ToolCall("add", {"a": "1"}, id="1"),)
    )
    assert [message.role for message in conversation.messages] == ["user", "assistant", "tool", "tool", "assistant"]


def test_null_content_beside_calls_is_an_empty_message() -> None:
    assert read_openai(row_of(USER, calling("", content=None), TOOL, ASSISTANT), LAYOUT).messages[1].parts == ()


def test_old_function_calls_and_the_developer_role_are_known() -> None:
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    row = row_of({"role": "developer", "content": "s"}, USER, old, {"role": "function", "content": "r"}, ASSISTANT)
    roles = [message.role for message in read_openai(row, LAYOUT).messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    "message",
    [
        {**ASSISTANT, "reasoning_content": "hm"},
        {"role": "assistant", "content": [{"type": "reasoning", "value": "hm"}, {"type": "text", "value": "hello"}]},
    ],
)
def test_thoughts_are_kept_apart_from_the_answer(message: dict[str, Any]) -> None:
    assert read_openai(row_of(USER, message), LAYOUT).messages[1] == Message(
        "assistant", (Text("hello"),), reasoning="hm"
    )


def test_an_explicitly_empty_system_message_stays() -> None:
    row = row_of({"role": "system", "content": ""}, USER, ASSISTANT)
    assert read_openai(row, LAYOUT).messages[0] == Message("system", ())


def test_images_stand_in_parts_as_paths_data_uris_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(png())
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    content = [
        {"type": "image", "image": "a b.png"},
        {"type": "text", "text": "or"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": f"file://{tmp_path}/a%20b.png"},
        {"type": "image", "image": {"bytes": png(), "path": None}},
    ]
    layout = Layout("openai", Columns(), OPENAI_TAGS, media_folder=tmp_path)
    message = read_openai(row_of({"role": "user", "content": content}, ASSISTANT), layout).messages[0]
    path = str(tmp_path / "a b.png")
    assert message.parts == (
        Media("image", path),
        Text("or"),
        Media("image", url),
        Media("image", path),
        Media("image", png()),
    )


def test_image_parts_without_a_path_and_placeholders_take_from_the_column_in_order() -> None:
    content = [{"type": "image"}, {"type": "text", "text": "and <image>?"}]
    row = row_of({"role": "user", "content": content}, ASSISTANT, images=[b"first", b"second"])
    assert read_openai(row, LAYOUT).messages[0].parts == (
        Media("image", b"first"),
        Text("and "),
        Media("image", b"second"),
        Text("?"),
    )


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER, calling("{}"), TOOL], "wrong role order: the last message (number 2) is a tool message"),
        ([USER, TOOL, ASSISTANT], "wrong role order: message 1 is a tool message after a user message"),
        ([USER, {"role": "assistant", "content": None}], "wrong type: message 1 (assistant) has content null"),
        ([USER, {"role": "assistant", "content": "  "}], "empty answer: message 1"),
        ([USER, {"role": "narrator", "content": "x"}], "unknown role: message 1 has role the text 'narrator'"),
        ([USER, calling("{a: 1}"), TOOL, ASSISTANT], "broken JSON: message 1.tool_calls[0].arguments is not JSON"),
        ([USER, calling("[1]"), TOOL, ASSISTANT], "wrong tool call: message 1.tool_calls[0].arguments is a list"),
        ([{**calling("{}"), "role": "user"}, ASSISTANT], "message 0 (user) has tool calls or thoughts"),
        ([{"role": "user", "content": {"text": "x"}}, ASSISTANT], "wrong type: message 0 (user) has content an object"),
        ([{"role": "user", "content": [{"type": "table"}]}, ASSISTANT], "part 0 is of type 'table'"),
        (
            [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "gone.mp4"}}]}, ASSISTANT],
            "missing video file: gone.mp4 does not exist",
        ),
        (
            [{"role": "user", "content": [{"type": "audio"}]}, ASSISTANT],
            "the text has 1 <audio> and the row has 0 audios",
        ),
        ([USER, {"role": "system", "content": "s"}, ASSISTANT], "message 1 is a system message after a user message"),
    ],
)
def test_bad_rows_say_what_is_wrong(messages: list[Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_openai({"messages": messages}, LAYOUT)
    assert reason in str(caught.value)


def test_video_and_audio_parts_in_every_way_of_writing_them() -> None:
    sound = base64.b64encode(b"RIFF" * 20).decode()
    content = [
        {"type": "video_url", "video_url": {"url": "https://x.org/a.mp4"}},
        {"type": "video", "video": "https://x.org/b.mp4"},
        {"type": "video", "video": ["https://x.org/1.png", "https://x.org/2.png"]},
        {"type": "audio", "audio": {"bytes": b"flac", "path": None}},
        {"type": "audio_url", "audio_url": "https://x.org/c.wav"},
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
    ]
    message = read_openai(row_of({"role": "user", "content": content}, ASSISTANT), LAYOUT).messages[0]
    assert message.parts == (
        Media("video", "https://x.org/a.mp4"),
        Media("video", "https://x.org/b.mp4"),
        Media("video", ("https://x.org/1.png", "https://x.org/2.png")),
        Media("audio", b"flac"),
        Media("audio", "https://x.org/c.wav"),
        Media("audio", f"data:application/octet-stream;base64,{sound}"),
    )


def test_placeholders_of_videos_and_audio_clips_take_from_their_columns() -> None:
    layout = Layout("openai", Columns(videos="videos", audios="audios"), OPENAI_TAGS)
    content = [{"type": "video"}, {"type": "text", "text": "with <audio>?"}]
    row = row_of({"role": "user", "content": content}, ASSISTANT, videos=[b"mp4"], audios=[b"wav"])
    assert read_openai(row, layout).messages[0].parts == (
        Media("video", b"mp4"),
        Text("with "),
        Media("audio", b"wav"),
        Text("?"),
    )
