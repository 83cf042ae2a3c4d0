"""sharegpt rows: tags, tool calls, and roles that must take turns."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.chat.message import Message, Text, ToolCall
from tunesmith.data.formats.layout import Columns, Layout, Tags
from tunesmith.data.formats.sharegpt import read_sharegpt
from tunesmith.data.problem import RowError

LAYOUT = Layout("sharegpt", Columns(tools="tools", system="system"))
HUMAN = {"from": "human", "value": "hi"}
GPT = {"from": "gpt", "value": "hello"}
CALL = {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'}
RESULT = {"from": "observation", "value": "2"}


def row_of(*messages: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"conversations": list(messages), **columns}


def test_a_call_and_its_result_become_an_assistant_and_a_tool_message() -> None:
    conversation = read_sharegpt(row_of(HUMAN, CALL, RESULT, GPT, tools='[{"name": "add"}]'), LAYOUT)
    assert conversation.messages == (
        Message("user", (Text("hi"),)),
        Message("assistant", (), tool_calls=(ToolCall("add", {"a": 1}),)),
        Message("tool", (Text("2"),)),
        Message("assistant", (Text("hello"),)),
    )
    assert conversation.tools == ({"type": "function", "function": {"name": "add"}},)


@pytest.mark.parametrize(
    ("value", "text", "calls"),
    [
        (
            '[{"name": "f", "arguments": {}}, {"name": "g", "arguments": "{\\"x\\": 1}"}]',
            "",
            (("f", {}), ("g", {"x": 1})),
        ),
        ('<think>\nhm {a}\n</think>\n\n{"name": "f", "arguments": {}}', "<think>\nhm {a}\n</think>", (("f", {}),)),
        ('Look.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "Look.", (("f", {}),)),
    ],
)
def test_calls_are_read_from_lists_behind_thoughts_and_in_tags(
    value: str, text: str, calls: tuple[tuple[str, dict[str, Any]], ...]
) -> None:
    message = read_sharegpt(row_of(HUMAN, {"from": "function_call", "value": value}, RESULT, GPT), LAYOUT).messages[1]
    assert message.text == text
    assert tuple((call.name, call.arguments) for call in message.tool_calls) == calls


def test_a_system_message_goes_before_the_system_column() -> None:
    system = {"from": "system", "value": "own"}
    assert read_sharegpt(row_of(system, HUMAN, GPT, system="column"), LAYOUT).messages[0].text == "own"
    assert read_sharegpt(row_of(HUMAN, GPT, system="column"), LAYOUT).messages[0].text == "column"


def test_tags_rename_keys_and_roles() -> None:
    tags = Tags(role_tag="role", content_tag="content", user_tag="user", assistant_tag="bot")
    row = row_of({"role": "user", "content": "hi"}, {"role": "bot", "content": "yo"})
    assert [m.role for m in read_sharegpt(row, Layout("sharegpt", tags=tags)).messages] == ["user", "assistant"]


def test_a_message_may_take_itself_out_of_the_loss() -> None:
    row = row_of(HUMAN, {**GPT, "loss": False}, HUMAN, {**GPT, "loss_weight": 1})
    assert [message.supervised for message in read_sharegpt(row, LAYOUT).messages] == [True, False, True, True]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no messages: the list of messages is empty"),
        ([GPT], "wrong role order: message 0 is an assistant message; a conversation starts with the user"),
        ([HUMAN, HUMAN, GPT], "wrong role order: message 1 is a user message after a user message; expected assistant"),
        ([HUMAN, GPT, GPT], "message 2 is an assistant message after an assistant message; expected user or tool"),
        ([HUMAN], "no answer: there is no assistant message"),
        ([HUMAN, GPT, HUMAN], "wrong role order: the last message (number 2) is a user message, not the assistant's"),
        ([HUMAN, CALL, RESULT], "wrong role order: the last message (number 2) is a tool message"),
        ([HUMAN, {"from": "bot", "value": "x"}], "unknown role: message 1 has from the text 'bot'; expected one of"),
        ([HUMAN, {"from": "gpt"}], "wrong type: message 1 has no 'value' (keys: from)"),
        ([HUMAN, {"from": "gpt", "value": None}], "wrong type: message 1 (gpt) is null; expected text"),
        ([HUMAN, {"from": "gpt", "value": ""}], "empty answer: message 1"),
        ([HUMAN, {"from": "function_call", "value": "add(1)"}, RESULT, GPT], "broken JSON: message 1 is not JSON"),
        ([HUMAN, {"from": "function_call", "value": '{"a": 1}'}, RESULT, GPT], "wrong tool call: message 1[0]"),
        (["hi"], "wrong type: message 0 is the text 'hi'; expected an object"),
        ([HUMAN, {**GPT, "loss": 0.5}], "wrong loss flag: message 1 has loss"),
        ([{**HUMAN, "loss": True}, GPT], "wrong loss flag: message 0 (user) has loss on"),
        ([HUMAN, {**GPT, "loss": 0}], "nothing to learn: every assistant message has loss switched off"),
    ],
)
def test_bad_rows_say_what_is_wrong(messages: list[Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_sharegpt({"conversations": messages}, LAYOUT)
    assert reason in str(caught.value)


def test_a_missing_column_is_named_with_the_columns_that_are_there() -> None:
    with pytest.raises(RowError, match=r"no column 'conversations' \(columns here: messages\)"):
        read_sharegpt({"messages": []}, LAYOUT)
