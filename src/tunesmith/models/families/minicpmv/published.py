"""What a processor remembers of the folder that it was read from, so that it can be written in the published form.

Knows files; nothing of what is in them but that tokenizer_config.json and config.json are JSON objects.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKENIZER_CONFIG = "tokenizer_config.json"

_COPIED = ("*.py", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
"""What the folder's own code needs beside the files that a processor writes."""

_OF_THE_MODEL = ("model_type", "version", "batch_3d_resampler", "init_audio", "audio_pool_step", "chunk_input")
"""Keys of config.json that a processor goes by; beside an adapter, which has none, the tokenizer carries them."""


@dataclass(frozen=True, slots=True)
class Published:
    """A model's folder, with the contents of its tokenizer_config.json and config.json; empty where there is none.

    Each of the two also has those keys of the other that a processor goes by.
    """

    folder: Path
    tokenizer_config: Mapping[str, Any]
    model_config: Mapping[str, Any]

    def copy_files(self, target: Path) -> None:
        """Copy the folder's code and the parts of its vocabulary into `target`, as far as they are still there."""
        if self.folder.resolve() == target.resolve():
            return
        for pattern in _COPIED:
            for file in sorted(self.folder.glob(pattern)):
                shutil.copyfile(file, target / file.name)


def read_published(folder: Path) -> Published:
    """Raises ValueError where a file is no JSON."""
    tokenizer, model = _read(folder / TOKENIZER_CONFIG), _read(folder / "config.json")
    carried = {key: said[key] for said in (tokenizer, model) for key in _OF_THE_MODEL if key in said}
    return Published(folder, {**tokenizer, **carried}, {**carried, **model})


def _read(file: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return contents
