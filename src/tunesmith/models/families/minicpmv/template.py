"""A published chat template, which takes text only, made to take content as a list of parts with media among them.

The published template stays as it is, behind a prelude that turns parts into text: what it writes for text alone does
not change by a byte. Knows nothing of tokens or of what the markers become.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources

from tunesmith.chat.dialect import places_media
from tunesmith.chat.template import ChatTemplate

IMAGE_MARKER = "(<image>./</image>)"
VIDEO_MARKER = "(<video>./</video>)"
AUDIO_MARKER = "(<audio>./</audio>)"

ChatTemplates = str | dict[str, str]
"""One template, or several by name."""

_MARKERS = "MARKERS"


def with_parts(published: ChatTemplates, markers: Mapping[str, str]) -> ChatTemplates:
    """`published` for content in parts; `markers` is what stands for a part of each kind of media.

    A template that takes parts by itself stays as it is: one with the prelude, or a bundled one in a merged folder.
    """
    prelude = _prelude(markers)
    return _each(published, lambda source: source if _takes_parts(source) else prelude + source)


def without_parts(templates: ChatTemplates, markers: Mapping[str, str]) -> ChatTemplates:
    """The published templates inside what `with_parts` returned; any other stays as it is."""
    prelude = _prelude(markers)
    return _each(templates, lambda source: source.removeprefix(prelude))


def _takes_parts(source: str) -> bool:
    return places_media(ChatTemplate(source), "user", "image")


def _each(templates: ChatTemplates, change: Callable[[str], str]) -> ChatTemplates:
    if isinstance(templates, str):
        return change(templates)
    return {name: change(source) for name, source in templates.items()}


def _prelude(markers: Mapping[str, str]) -> str:
    """Ends in a line break, which Jinja's trim_blocks takes away."""
    return _source().replace(_MARKERS, json.dumps(dict(markers)))


@cache
def _source() -> str:
    return (resources.files(__package__) / "parts.jinja").read_text(encoding="utf-8")
