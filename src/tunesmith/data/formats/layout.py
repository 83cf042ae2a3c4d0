"""Where a dataset keeps what: its format, its columns, its tags. LLaMA-Factory's names and documented defaults.

Knows nothing of files; the catalog fills a Layout from dataset_info.json, `recognise` fills one from the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.chat.message import MediaKind
from tunesmith.config.stages import RowKind

FORMAT_NAMES = ("alpaca", "sharegpt", "openai", "minicpmv", "llava")


@dataclass(frozen=True, slots=True)
class Columns:
    """Column of each thing; None where the dataset has no such column. `messages`, `chosen`, `rejected` and `kto_tag`
    then have the format's usual name, in rows that need them.

    prompt: the question; of documents the text
    """

    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = None
    messages: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    kto_tag: str | None = None
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None


@dataclass(frozen=True, slots=True)
class Tags:
    """Keys and role names inside a message of the sharegpt format, and extra role names for the openai format."""

    role_tag: str = "from"
    content_tag: str = "value"
    user_tag: str = "human"
    assistant_tag: str = "gpt"
    observation_tag: str = "observation"
    function_tag: str = "function_call"
    system_tag: str = "system"


OPENAI_TAGS = Tags(
    role_tag="role", content_tag="content", user_tag="user", assistant_tag="assistant", observation_tag="tool"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read one dataset's rows.

    expects_media: kinds whose placeholders count in every row, even one without media: an `<image>` in a dataset that
                   declares an images column means an image, in a text dataset it is text
    media_folder:  what media paths are relative to; None for paths that stand as they are
    rows:          what the run's stage learns from, so what is looked for in a row
    """

    formatting: str = "alpaca"
    columns: Columns = field(default_factory=Columns)
    tags: Tags = field(default_factory=Tags)
    expects_media: frozenset[MediaKind] = frozenset()
    media_folder: Path | None = None
    rows: RowKind = "conversations"
