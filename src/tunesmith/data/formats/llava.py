"""llava: LLaVA's own files, sharegpt messages and an `image` column with one path (or a list of them).

    {"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, …]}

The placeholder stays where the row has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunesmith.chat.message import Conversation
from tunesmith.data.formats.layout import Layout
from tunesmith.data.formats.sharegpt import read_sharegpt


def read_llava(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The conversation of one row. Raises RowError."""
    columns = replace(layout.columns, images=layout.columns.images or "image")
    return read_sharegpt(row, replace(layout, columns=columns, expects_media=layout.expects_media | {"image"}))
