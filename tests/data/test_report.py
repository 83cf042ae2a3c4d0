"""What became of every row, as JSON and as lines for a person."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.encoded import Encoded
from tunesmith.data.problem import RowProblem
from tunesmith.data.report import NUM_EXAMPLES, DataReport, DatasetReport, sum_up


def example(row: int, *, num_tokens: int, num_supervised: int, num_media_tokens: int = 0) -> Encoded:
    labels = np.full(num_tokens, -100, dtype=np.int32)
    labels[num_tokens - num_supervised :] = 1
    media = (Media("image", "a.png"),) if num_media_tokens else ()
    ids = np.ones(num_tokens, dtype=np.int32)
    return Encoded(ids, labels, None, media, num_media_tokens, False, RowSource("a.json", row))


TRAIN = sum_up(
    [example(0, num_tokens=10, num_supervised=4), example(1, num_tokens=30, num_supervised=6, num_media_tokens=20)]
)
CUT = tuple(
    RowProblem(RowSource("a.json", row), "turns cut", "1 of 2 exchanges cut") for row in range(NUM_EXAMPLES + 5)
)
REPORT = DataReport(
    datasets=(DatasetReport("a", "a.json", "train", rows_read=150, rows_kept=148, cut=105, dropped=1, skipped=1),),
    train=TRAIN,
    eval=None,
    cut=CUT,
    dropped=(RowProblem(RowSource("a.json", 7), "dropped as too long", "99 tokens, cutoff_len is 10"),),
    skipped=(RowProblem(RowSource("a.json", 8), "empty answer", "message 2 has no text"),),
)


def test_totals() -> None:
    assert (TRAIN.rows, TRAIN.tokens, TRAIN.supervised_tokens, TRAIN.media_tokens) == (2, 40, 10, 20)
    assert (TRAIN.media, TRAIN.longest_tokens) == (1, 30)
    assert sum_up([]).longest_tokens == 0


def test_the_file_counts_everything_and_names_the_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "data_report.json"
    REPORT.write(path)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["rows"] == {"read": 150, "train": 2, "eval": 0, "cut": 105, "dropped": 1, "skipped": 1}
    assert written["train"]["supervised_tokens"] == 10 and written["eval"] is None
    assert written["cut"]["turns cut"]["rows"] == 105
    assert len(written["cut"]["turns cut"]["examples"]) == NUM_EXAMPLES
    assert written["skipped"]["empty answer"]["examples"] == [
        {"file": "a.json", "row": 8, "detail": "message 2 has no text"}
    ]
    assert written["datasets"][0]["name"] == "a"


def test_the_summary_is_for_people() -> None:
    assert REPORT.summary() == [
        "train: 2 rows, 40 tokens, 10 in the loss (25%), 1 images of 20 tokens, longest 30",
        "of 150 rows read, 105 cut to fit (first: a.json, row 0: 1 of 2 exchanges cut)",
        "of 150 rows read, 1 dropped as too long (first: a.json, row 7: 99 tokens, cutoff_len is 10)",
        "of 150 rows read, 1 skipped as unusable (first: a.json, row 8: message 2 has no text)",
    ]
