"""use_audio_in_video with sound in files of its own: a row that brings one audio for each video means its sound.

That is how LLaMA-Factory's rows have it (`mm_plugin.Qwen2OmniPlugin`): the n-th audio is woven into the n-th video and
its own placeholder goes. A row that brings no audio means the videos' own sound tracks. Knows nothing of processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.chat.message import Media
from tunesmith.chat.render import Rendered
from tunesmith.data.encoding.spans import Span, overlaps, shift_spans
from tunesmith.models.preprocessing.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class SoundedVideo(Media):
    """A video whose sound stands in a file of its own."""

    sound: Media


def sound_of(media: Media) -> Media:
    """The file that has the sound of a video, or `media` itself."""
    return media.sound if isinstance(media, SoundedVideo) else media


def pair_sounds(media: Sequence[Media]) -> tuple[Media, ...]:
    """`media` of one row with each audio joined to its video, where there are as many of both; else as they are."""
    videos = [item for item in media if item.kind == "video" and not isinstance(item, SoundedVideo)]
    sounds = [item for item in media if item.kind == "audio"]
    if not sounds or len(sounds) != len(videos):
        return tuple(media)
    remaining = iter(sounds)
    return tuple(
        SoundedVideo("video", item.source, next(remaining)) if item.kind == "video" else item
        for item in media
        if item.kind != "audio"
    )


def join_sounds(rendered: Rendered, preprocessor: Preprocessor) -> Rendered:
    """`rendered` with its audio joined to its videos, and without their placeholders and the marks around these.

    Unchanged unless use_audio_in_video is set and the row brings one audio for each video. Raises DataError if the
    model takes no audio.
    """
    if not preprocessor.media.use_audio_in_video:
        return rendered
    media = pair_sounds(rendered.media)
    if media == rendered.media:
        return rendered
    cut = _placeholders(rendered, preprocessor)
    nothing = [""] * len(cut)
    return replace(
        rendered,
        text=_without(rendered.text, cut),
        supervised=shift_spans(rendered.supervised, replaced=cut, texts=nothing),
        literal=shift_spans(rendered.literal, replaced=cut, texts=nothing),
        media=media,
    )


def _placeholders(rendered: Rendered, preprocessor: Preprocessor) -> list[Span]:
    """Where the template wrote those of audio, with the marks of its beginning and end."""
    token, processor, text = preprocessor.placeholder("audio"), preprocessor.processor, rendered.text
    before, after = _mark(processor, "audio_bos_token"), _mark(processor, "audio_eos_token")
    found, start = [], text.find(token)
    while start >= 0:
        end = start + len(token)
        if not overlaps((start, end), rendered.literal):
            first = start - len(before) if text.endswith(before, 0, start) else start
            found.append((first, end + len(after) if text.startswith(after, end) else end))
        start = text.find(token, end)
    return found


def _mark(processor: Any, name: str) -> str:
    return str(getattr(processor, name, ""))


def _without(text: str, cut: Sequence[Span]) -> str:
    edges = [0, *(edge for span in cut for edge in span), len(text)]
    return "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
