"""Tools and their calls, from every way in which datasets write them.

Tools leave here as OpenAI tool objects (`{"type": "function", "function": {…}}`, what chat templates expect), calls
with their arguments as an object. LLaMA-Factory encodes arguments that are JSON text a second time; here they are
decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunesmith.chat.message import ToolCall
from tunesmith.data.formats.values import as_list, describe, parse_json
from tunesmith.data.problem import RowError

_WRAPPED_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_THOUGHT_END = "</think>"


def read_tools(value: object, column: str) -> tuple[dict[str, Any], ...]:
    """The `tools` column: a list, one tool, or JSON text of either; null, "" and "[]" mean none. Raises RowError."""
    if isinstance(value, str) and value.strip():
        value = parse_json(value, column)
    return tuple(_read_tool(tool, f"{column}[{index}]") for index, tool in enumerate(as_list(value, column)))


def _read_tool(tool: object, where: str) -> dict[str, Any]:
    if isinstance(tool, str):
        tool = parse_json(tool, where)
    function = tool.get("function", tool) if isinstance(tool, Mapping) else tool
    if not isinstance(tool, Mapping) or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError("wrong tool", f"{where} is {describe(tool)}; expected an object with name and parameters")
    return {"type": "function", **tool} if "function" in tool else {"type": "function", "function": dict(tool)}


def read_calls(value: object, where: str) -> tuple[ToolCall, ...]:
    """Tool calls as objects: one or a list, flat (`name`, `arguments`) or in OpenAI's `function`. Raises RowError."""
    return tuple(_read_call(call, f"{where}[{index}]") for index, call in enumerate(as_list(value, where)))


def _read_call(call: object, where: str) -> ToolCall:
    if isinstance(call, str):
        call = parse_json(call, where)
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(call, Mapping) or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError("wrong tool call", f"{where} is {describe(call)}; expected an object with name and arguments")
    identity = call.get("id")
    return ToolCall(
        name=function["name"],
        arguments=_read_arguments(function.get("arguments"), f"{where}.arguments"),
        id=identity if isinstance(identity, str) else None,
    )


def _read_arguments(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        value = parse_json(value, where) if value.strip() else {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError("wrong tool call", f"{where} is {describe(value)}; expected an object")
    return value


def read_call_text(text: str, where: str) -> tuple[str, tuple[ToolCall, ...]]:
    """The text of a function_call turn: what stands before the calls (thoughts), and the calls.

    The calls are JSON, an object or a list, alone, after `</think>`, or each in `<tool_call>` tags. Raises RowError.
    """
    wrapped = list(_WRAPPED_CALL.finditer(text))
    if wrapped:
        calls = [parse_json(match.group(1), where) for match in wrapped]
        return _WRAPPED_CALL.sub("", text).strip(), read_calls(calls, where)
    thoughts, end, rest = text.rpartition(_THOUGHT_END)
    return thoughts + end, read_calls(parse_json(rest, where), where)
