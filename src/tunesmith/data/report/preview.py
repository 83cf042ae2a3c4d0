"""Examples after every step, as JSON lines or as text for a terminal. `preview_page` writes them as a web page.

Needs the tokenizer or processor of the model, never its weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from transformers import PreTrainedTokenizerBase

from tunesmith.config.settings import Settings
from tunesmith.data.encoding.encode import Encoder, RowTooLongError, Trace, build_template
from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.data.encoding.spans import runs_of, tokens_in
from tunesmith.data.problem import RowError, RowProblem
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.errors import UsageError
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor

_GREEN, _BLUE, _DIM, _PLAIN = "\033[32m", "\033[34m", "\033[2m", "\033[0m"
_FEWEST_ABBREVIATED = 4
_ROWS_AT_A_TIME = 16
_SEPARATOR = re.compile("[\x85\u2028\u2029]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class PreviewedRow:
    """One example with every step of its making, and the tokenizer that reads its ids back."""

    trace: Trace
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens that are alike: in the loss or not, standing for media or not, with the text of each."""

    supervised: bool
    media: bool
    texts: tuple[str, ...]
    ids: tuple[int, ...]


def preview_rows(settings: Settings, limit: int) -> Iterator[PreviewedRow | RowProblem]:
    """The first `limit` usable rows of `dataset` (of `eval_dataset` if there is no other); unusable ones on the way.

    Reads no further than that, however many rows there are. Raises UsageError and DataError as a training would.
    """
    names = settings.data.dataset or settings.data.eval_dataset
    if not names:
        raise UsageError("no dataset is given; set `dataset: NAME` or the path of a file")
    preprocessor = load_preprocessor(settings.model, settings.media)
    encoder = Encoder(preprocessor, build_template(preprocessor, settings.data), settings.data)
    data = settings.data.model_copy(update={"streaming": True})  # without the pass over all files that finds their rows
    shown = 0
    for dataset in open_datasets(names, settings.model_copy(update={"data": data})):
        for row in trace_rows(dataset, encoder, preprocessor):
            yield row
            shown += isinstance(row, PreviewedRow)
            if shown == limit:
                return


def trace_rows(dataset: Dataset, encoder: Encoder, preprocessor: Preprocessor) -> Iterator[PreviewedRow | RowProblem]:
    """The rows of `dataset` in the order of its files, each when it is asked for."""
    for block in dataset.blocks(rows_per_block=_ROWS_AT_A_TIME):
        for ref in block.refs:
            try:
                yield PreviewedRow(encoder.trace(dataset.conversation(ref)), preprocessor.tokenizer)
            except RowError as error:
                yield RowProblem(dataset.source(ref), error.kind, error.detail)


def is_left_out(problem: RowProblem) -> bool:
    """Whether `problem` is a row left out for its length, which no on_bad_row stops for."""
    return problem.kind == RowTooLongError.KIND


def segments(row: PreviewedRow) -> tuple[Segment, ...]:
    """The example as runs of tokens; their texts joined are the expanded text."""
    trace = row.trace
    text, offsets = trace.expanded.text, trace.tokens.offsets
    shown = _without_repeats(offsets)
    in_media = tokens_in(offsets, trace.expanded.media)
    supervised = trace.encoded.labels != IGNORED
    runs = groupby(range(len(offsets)), key=lambda index: (bool(supervised[index]), bool(in_media[index])))
    return tuple(
        Segment(
            *kind,
            texts=tuple(text[start:end] for start, end in shown[indices].tolist()),
            ids=tuple(trace.tokens.ids[indices].tolist()),
        )
        for kind, run in runs
        for indices in [list(run)]
    )


def _without_repeats(offsets: np.ndarray) -> np.ndarray:
    """`offsets` in which a character that several tokens make up (an emoji's bytes) belongs to the first of them."""
    reached = np.concatenate(([0], np.maximum.accumulate(offsets[:-1, 1])))
    return np.stack((np.maximum(offsets[:, 0], reached), offsets[:, 1]), axis=1)


def abbreviate(texts: tuple[str, ...]) -> str:
    """Tokens of a medium in short: `<|image_pad|>×391`."""
    pieces = []
    for text, run in groupby(texts):
        count = len(list(run))
        pieces.append(f"{text}×{count}" if count >= _FEWEST_ABBREVIATED else text * count)
    return "".join(pieces)


def supervised_texts(row: PreviewedRow) -> list[str]:
    """Every contiguous run of supervised ids, decoded with its special tokens."""
    labels = row.trace.encoded.labels
    return [
        str(row.tokenizer.decode(labels[start:end].tolist(), skip_special_tokens=False))
        for start, end in runs_of(labels != IGNORED)
    ]


def to_json_line(row: PreviewedRow) -> str:
    """One line of the contract's JSON, for readers too that also break lines at Unicode's separators."""
    encoded = row.trace.encoded
    line = json.dumps(
        {
            "source": {"file": encoded.source.file, "row": encoded.source.row},
            "input_ids": encoded.input_ids.tolist(),
            "labels": encoded.labels.tolist(),
            "text": row.trace.rendered.text,
            "supervised": supervised_texts(row),
            "num_media_tokens": encoded.num_media_tokens,
            "truncated": encoded.truncated,
        },
        ensure_ascii=False,
    )
    return _SEPARATOR.sub(lambda found: f"\\u{ord(found.group()):04x}", line)


def to_text(row: PreviewedRow, *, color: bool) -> str:
    """The example for reading: what is in the loss is green, or stands in ⟦ ⟧ without colour."""
    pieces = []
    for segment in segments(row):
        text = abbreviate(segment.texts) if segment.media else "".join(segment.texts)
        pieces.append(_marked(_UNPRINTABLE.sub(_escape, text), segment, color=color))
    title = describe_row(row)
    return f"{_DIM}{title}{_PLAIN}\n{''.join(pieces)}\n" if color else f"{title}\n{''.join(pieces)}\n"


def describe_row(row: PreviewedRow) -> str:
    """One line: where the row stands, its counts, and what was cut."""
    encoded, cut = row.trace.encoded, row.trace.cut
    media = f", {encoded.num_media_tokens} of them media" if encoded.media else ""
    lost = f" · {cut.detail}" if cut else ""
    return f"── {encoded.source} · {len(encoded)} tokens{media}, {encoded.num_supervised} in the loss{lost}"


def _marked(text: str, segment: Segment, *, color: bool) -> str:
    if segment.supervised:
        return f"{_GREEN}{text}{_PLAIN}" if color else f"⟦{text}⟧"
    return f"{_BLUE}{text}{_PLAIN}" if segment.media and color else text


def _escape(found: re.Match[str]) -> str:
    """A control character of a row, which could otherwise command the terminal."""
    return f"\\x{ord(found.group()):02x}"
