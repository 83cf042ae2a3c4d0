"""What a published model says its chat template is meant to be given, such as MiniCPM-V 4.5's `enable_thinking: false`.

The same word for training and for asking, so that a prompt ends as the trained text began. Knows no template.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.models.files.weight_files import read_json

_FILE = "generation_config.json"
_KEY = "chat_template_kwargs"


def published_options(folder: Path) -> dict[str, Any]:
    """`chat_template_kwargs` of `folder`'s generation_config.json; empty where it says none. Raises ModelError."""
    if not (folder / _FILE).is_file():
        return {}
    options = read_json(folder / _FILE).get(_KEY)
    return dict(options) if isinstance(options, dict) else {}
