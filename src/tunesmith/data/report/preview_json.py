"""Previewed examples as JSON lines, the contract that other tools read."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.data.encoding.spans import runs_of
from tunesmith.data.encoding.trace import Trace
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.data.report.preview_parts import reference_answer

_SEPARATOR = re.compile("[\x85\u2028\u2029]")


def to_json_line(row: PreviewedRow) -> str:
    """One object, for readers too that also break lines at Unicode's separators.

    Of a pair the ids are the beginning once and both answers behind each other, as many tokens as `branches` says, and
    `chosen` and `rejected` are the rows apart. Of a judged answer they are that answer's row.
    """
    line = json.dumps({**_common(row), **_kind(row)}, ensure_ascii=False)
    return _SEPARATOR.sub(lambda found: f"\\u{ord(found.group()):04x}", line)


def supervised_texts(row: PreviewedRow) -> list[str]:
    """Every contiguous run of supervised ids, decoded with its special tokens, answer by answer."""
    return list(chain.from_iterable(_supervised(answer, row) for answer in row.trace.answers or (row.trace,)))


def _common(row: PreviewedRow) -> dict[str, Any]:
    trace = row.trace
    encoded = trace.encoded
    is_judged = encoded.verdict is not None
    shown = trace.answers[0] if is_judged else trace
    return {
        "source": {"file": encoded.source.file, "row": encoded.source.row},
        "input_ids": shown.encoded.input_ids.tolist(),
        "labels": shown.encoded.labels.tolist(),
        "text": trace.rendered.text,
        "supervised": _supervised(shown, row) if is_judged else supervised_texts(row),
        "num_media_tokens": encoded.num_media_tokens,
        "truncated": encoded.truncated,
    }


def _kind(row: PreviewedRow) -> dict[str, Any]:
    """What only rows of some stages have."""
    trace = row.trace
    encoded = trace.encoded
    if encoded.verdict is not None:
        return {"verdict": encoded.verdict, "other_answer": _apart(trace.answers[1], row)}
    if trace.answers:
        chosen, rejected = trace.answers
        return {"branches": encoded.branches, "chosen": _apart(chosen, row), "rejected": _apart(rejected, row)}
    if encoded.pieces:
        return {"pieces": [{"num_tokens": piece.num_tokens, "num_media": piece.num_media} for piece in encoded.pieces]}
    answer = reference_answer(trace)
    return {} if answer is None else {"reference_answer": answer}


def _apart(trace: Trace, row: PreviewedRow) -> dict[str, Any]:
    return {
        "input_ids": trace.encoded.input_ids.tolist(),
        "labels": trace.encoded.labels.tolist(),
        "text": trace.rendered.text,
        "supervised": _supervised(trace, row),
    }


def _supervised(trace: Trace, row: PreviewedRow) -> list[str]:
    labels = trace.encoded.labels
    return [
        str(row.tokenizer.decode(labels[start:end].tolist(), skip_special_tokens=False))
        for start, end in runs_of(labels != IGNORED)
    ]
