"""The formats by name: what `formatting` in dataset_info.json may say, and how any row is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.chat.message import Conversation
from tunesmith.data.formats.alpaca import read_alpaca
from tunesmith.data.formats.document import read_document
from tunesmith.data.formats.layout import Layout
from tunesmith.data.formats.llava import read_llava
from tunesmith.data.formats.minicpmv import read_minicpmv
from tunesmith.data.formats.openai import read_openai
from tunesmith.data.formats.sharegpt import read_sharegpt

FORMATS: dict[str, Callable[[Mapping[str, Any], Layout], Conversation]] = {
    "alpaca": read_alpaca,
    "sharegpt": read_sharegpt,
    "openai": read_openai,
    "minicpmv": read_minicpmv,
    "llava": read_llava,
}


def read_row(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The row as the conversation that the run's stage learns from. Raises RowError."""
    if layout.rows == "documents":
        return read_document(row, layout)
    return FORMATS[layout.formatting](row, layout)
