"""A text model's chat template that also takes pictures: its own text, byte for byte, behind a prelude.

The prelude turns messages made of parts into messages of text before the template sees them.
"""

from __future__ import annotations

import json
from importlib import resources

from tunesmith.chat.template import load_bundled

_FOR_BASE_MODELS = "vicuna"
"""What LLaVA 1.5 was trained with: USER: … ASSISTANT: …</s>."""


def with_images(own: str | None, *, image_token: str) -> str:
    """The Jinja source `own` (None: the bundled one for base models) with places for pictures."""
    prelude = (resources.files("tunesmith.compose") / "chat_prelude.jinja").read_text(encoding="utf-8")
    token = f"{{%- set image_token = {json.dumps(image_token, ensure_ascii=False)} -%}}\n"
    # The prelude ends in a tag and a newline, which Jinja takes away: `own` begins where it would alone.
    return token + prelude + (load_bundled(_FOR_BASE_MODELS) if own is None else own)
