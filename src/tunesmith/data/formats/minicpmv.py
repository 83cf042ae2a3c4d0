"""minicpmv: MiniCPM-V's own files. `image` is a path, or an object that names each image in the text.

    {"image": "a.jpg", "conversations": [{"role": "user", "content": "<image>\\nHow many?"}, …]}
    {"image": {"<image_00>": "a.png", "<image_01>": "b.png"}, "conversations": […"Compare <image_00> and <image_01>."…]}

A single image that no turn mentions stands before the first user message, as in their `finetune/dataset.py`. Rows
without an image, and system messages, work too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.chat.message import Conversation
from tunesmith.data.formats.layout import OPENAI_TAGS, Layout
from tunesmith.data.formats.messages import read_message_list
from tunesmith.data.formats.openai import read_openai
from tunesmith.data.formats.values import as_list
from tunesmith.data.problem import RowError

Messages = list[Mapping[str, Any]]

_NAME = re.compile(r"<image(?:_\d+)?>")
_PLAIN = "<image>"


def read_minicpmv(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The conversation of one row: an openai row, once every image has its place. Raises RowError."""
    column = layout.columns.messages or "conversations"
    messages = read_message_list(row, (column,))
    image = row.get(layout.columns.images or "image")
    if isinstance(image, Mapping) and image and all(_NAME.fullmatch(name) for name in image):
        messages, images = _place_named(messages, image)
    else:
        images = as_list(image, "image")
        messages = _place_single(messages) if len(images) == 1 else messages
    return read_openai(
        {**row, column: messages, "images": images},
        replace(
            layout,
            columns=replace(layout.columns, messages=column, images="images"),
            tags=OPENAI_TAGS,
            expects_media=layout.expects_media | {"image"},
        ),
    )


def _place_named(messages: Messages, named: Mapping[str, Any]) -> tuple[Messages, list[Any]]:
    """Every name becomes the plain placeholder; the images in the order in which the text names them."""
    if set(named) == {_PLAIN}:
        messages = _place_single(messages)
    used: list[str] = []

    def take(match: re.Match[str]) -> str:
        if match.group() not in named:
            raise RowError("wrong number of images", f"the text names {match.group()}, which `image` does not hold")
        used.append(match.group())
        return _PLAIN

    placed = _map_texts(messages, lambda text: _NAME.sub(take, text))
    unused = [name for name in named if name not in used]
    if unused:
        raise RowError("wrong number of images", f"`image` holds {', '.join(unused)}, which the text does not name")
    return placed, [named[name] for name in used]


def _place_single(messages: Messages) -> Messages:
    """A placeholder before the first user message, unless some turn has one."""
    if any(_PLAIN in text for text in _texts(messages)):
        return messages
    first_user = next((index for index, message in enumerate(messages) if message.get("role") == "user"), None)
    return [
        {**message, "content": f"{_PLAIN}\n{message['content']}"}
        if index == first_user and isinstance(message.get("content"), str)
        else message
        for index, message in enumerate(messages)
    ]


def _texts(messages: Messages) -> Sequence[str]:
    return [
        message["content"]
        for message in messages
        if isinstance(message.get("content"), str) and message.get("role") != "system"
    ]


def _map_texts(messages: Messages, change: Callable[[str], str]) -> Messages:
    return [
        {**message, "content": change(message["content"])}
        if isinstance(message.get("content"), str) and message.get("role") != "system"
        else message
        for message in messages
    ]
