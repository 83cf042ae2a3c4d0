"""What there is to see of one example: its tokens in stretches, each in runs that are alike. Knows no output format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import numpy as np

from tunesmith.data.encoding.answers import answer_names
from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.data.encoding.spans import tokens_in
from tunesmith.data.encoding.trace import Trace
from tunesmith.data.report.preview import PreviewedRow

_FEWEST_ABBREVIATED = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens that are alike: in the loss or not, standing for media or not, with the text of each."""

    supervised: bool
    media: bool
    texts: tuple[str, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an example: one answer, or one sample of a document. `name` is "" where it needs none."""

    name: str
    segments: tuple[Segment, ...]

    @property
    def num_tokens(self) -> int:
        """Its tokens."""
        return sum(len(segment.ids) for segment in self.segments)


def stretches(row: PreviewedRow) -> tuple[Stretch, ...]:
    """The example from its beginning to its end; what several answers begin with stands once."""
    trace = row.trace
    if trace.answers:
        return tuple(_of_answers(trace))
    if trace.encoded.pieces:
        return tuple(_of_pieces(trace))
    return (Stretch("", segments(trace)), *_of_reference(row))


def segments(trace: Trace, start: int = 0, end: int | None = None) -> tuple[Segment, ...]:
    """The tokens from `start` to `end` of a plain row as runs; all their texts joined are the expanded text."""
    text, offsets = trace.expanded.text, trace.tokens.offsets
    shown = _without_repeats(offsets)
    in_media = tokens_in(offsets, trace.expanded.media)
    supervised = trace.encoded.labels != IGNORED
    wanted = range(len(offsets))[start:end]
    runs = groupby(wanted, key=lambda index: (bool(supervised[index]), bool(in_media[index])))
    return tuple(
        Segment(
            *kind,
            texts=tuple(text[first:last] for first, last in shown[indices].tolist()),
            ids=tuple(trace.tokens.ids[indices].tolist()),
        )
        for kind, run in runs
        for indices in [list(run)]
    )


def abbreviate(texts: tuple[str, ...]) -> str:
    """Tokens of a medium in short: `<|image_pad|>×391`."""
    pieces = []
    for text, run in groupby(texts):
        count = len(list(run))
        pieces.append(f"{text}×{count}" if count >= _FEWEST_ABBREVIATED else text * count)
    return "".join(pieces)


def describe_row(row: PreviewedRow) -> str:
    """One line: where the row stands, its counts, and what was cut."""
    encoded, cut = row.trace.encoded, row.trace.cut
    media = f", {encoded.num_media_tokens} of them media" if encoded.media else ""
    lost = f" · {cut.detail}" if cut else ""
    return f"── {encoded.source} · {len(encoded)} tokens{media}, {encoded.num_supervised} in the loss{lost}"


def _of_answers(trace: Trace) -> Iterator[Stretch]:
    num_shared = trace.encoded.num_shared
    yield Stretch("", segments(trace.answers[0], 0, num_shared))
    for name, answer in zip(answer_names(trace.encoded.verdict), trace.answers, strict=True):
        yield Stretch(name, segments(answer, num_shared))


def _of_pieces(trace: Trace) -> Iterator[Stretch]:
    pieces = trace.encoded.pieces
    edges = [0, *accumulate(piece.num_tokens for piece in pieces)]
    for number, (start, end) in enumerate(pairwise(edges), start=1):
        yield Stretch(f"sample {number} of {len(pieces)}", segments(trace, start, end))


def _of_reference(row: PreviewedRow) -> Iterator[Stretch]:
    """The answer that the model's own are judged by, where the row has it: it is not among the example's tokens."""
    answer = reference_answer(row.trace)
    if answer:
        tokens = row.tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        shown = _without_repeats(np.asarray(tokens["offset_mapping"]).reshape(-1, 2))
        texts = tuple(answer[start:end] for start, end in shown.tolist())
        yield Stretch("answer to judge by", (Segment(False, False, texts, tuple(tokens["input_ids"])),))


def reference_answer(trace: Trace) -> str | None:
    """The last answer of a row for which the model answers by itself; None for other rows, and where there is none."""
    last = trace.conversation.messages[-1]
    is_learned = bool(trace.rendered.supervised) or bool(trace.answers)
    return None if is_learned or last.role != "assistant" else last.text


def _without_repeats(offsets: np.ndarray) -> np.ndarray:
    """`offsets` in which a character that several tokens make up (an emoji's bytes) belongs to the first of them."""
    reached = np.concatenate(([0], np.maximum.accumulate(offsets[:-1, 1])))
    return np.stack((np.maximum(offsets[:, 0], reached), offsets[:, 1]), axis=1)
