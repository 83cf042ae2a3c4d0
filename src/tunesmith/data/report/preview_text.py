"""Previewed examples for a terminal: what is in the loss is green, or stands in ⟦ ⟧ without colour."""

from __future__ import annotations

import re

from tunesmith.data.report.preview import PreviewedRow
from tunesmith.data.report.preview_parts import Segment, Stretch, abbreviate, describe_row, stretches

_GREEN, _BLUE, _DIM, _PLAIN = "\033[32m", "\033[34m", "\033[2m", "\033[0m"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def to_text(row: PreviewedRow, *, color: bool) -> str:
    """The example for reading."""
    lines = [_title(describe_row(row), color=color)]
    for stretch in stretches(row):
        if stretch.name:
            lines.append(_title(f"── {stretch.name} · {stretch.num_tokens} tokens", color=color))
        lines.append(_body(stretch, color=color))
    return "\n".join(lines) + "\n"


def _title(text: str, *, color: bool) -> str:
    return f"{_DIM}{text}{_PLAIN}" if color else text


def _body(stretch: Stretch, *, color: bool) -> str:
    pieces = []
    for segment in stretch.segments:
        text = abbreviate(segment.texts) if segment.media else "".join(segment.texts)
        pieces.append(_marked(_UNPRINTABLE.sub(_escape, text), segment, color=color))
    return "".join(pieces)


def _marked(text: str, segment: Segment, *, color: bool) -> str:
    if segment.supervised:
        return f"{_GREEN}{text}{_PLAIN}" if color else f"⟦{text}⟧"
    return f"{_BLUE}{text}{_PLAIN}" if segment.media and color else text


def _escape(found: re.Match[str]) -> str:
    """A control character of a row, which could otherwise command the terminal."""
    return f"\\x{ord(found.group()):02x}"
