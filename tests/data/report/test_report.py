"""What became of every row, as JSON and as lines for a person."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.outcomes import kept, left_out
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.report.report import DataReport
from tunesmith.data.report.report_builder import NUM_EXAMPLES, DatasetFacts, ReportBuilder

NUM_CUT = NUM_EXAMPLES + 5
CUT = [
    kept(row, num_tokens=10, num_supervised=5, cut="turns cut: 1 of 2 exchanges cut") for row in range(10, 10 + NUM_CUT)
]
MIXED = [
    kept(0, num_tokens=10, num_supervised=4),
    kept(1, num_tokens=30, num_supervised=6, num_media_tokens=20),
    left_out(2, kind=RowTooLongError.KIND, detail="99 tokens, cutoff_len is 64"),
    left_out(3, kind="empty answer", detail="message 2 has no text"),
    *CUT,
]


def build(num_rows: int | None = len(MIXED)) -> ReportBuilder:
    builder = ReportBuilder([DatasetFacts("a", "a.json", num_rows)], cutoff_len=64)
    for outcome in MIXED:
        builder.add(outcome, used_for="train")
    return builder


def test_every_row_is_counted_once() -> None:
    report = build().report()
    (dataset,) = report.datasets
    assert (dataset.rows_read, dataset.rows_kept, dataset.cut) == (109, 107, 105)
    assert (dataset.dropped, dataset.skipped) == (1, 1)
    assert dataset.rows_read == dataset.rows_kept + dataset.dropped + dataset.skipped
    assert dataset.tokens == report.train.tokens == 10 + 30 + 105 * 10


def test_tokens_by_what_they_are() -> None:
    train = build().report().train
    assert (train.rows, train.media, train.images, train.longest_tokens) == (107, 1, 1, 30)
    assert (train.supervised_tokens, train.media_tokens) == (4 + 6 + 105 * 5, 20)
    assert train.prompt_tokens == train.tokens - train.supervised_tokens - 20
    shares = train.to_dict()["shares"]
    assert shares["supervised"] == round(535 / 1090, 6) and shares["padding"] is None
    assert abs(sum(share for share in shares.values() if share is not None) - 1) < 1e-5


def test_padding_takes_its_share_once_batches_are_known() -> None:
    builder = build()
    builder.add_padding(545)
    builder.add_padding(0)
    train = builder.report().train
    assert train.padding_tokens == 545
    assert train.to_dict()["shares"]["padding"] == round(545 / (1090 + 545), 6)


def test_the_file_counts_everything_and_names_the_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "data_report.json"
    build().report().write(path)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["complete"] is True
    assert written["rows"] == {
        **{"read": 109, "of": 109, "train": 107, "eval": 0},
        **{"cut": 105, "dropped": 1, "skipped": 1},
    }
    assert written["train"]["supervised_tokens"] == 535 and written["eval"] is None
    assert written["cut"]["turns cut"]["rows"] == 105
    assert len(written["cut"]["turns cut"]["examples"]) == NUM_EXAMPLES
    assert written["cut"]["turns cut"]["examples"][0] == {"file": "0.json", "row": 10, "detail": "1 of 2 exchanges cut"}
    assert written["skipped"]["empty answer"]["examples"] == [
        {"file": "0.json", "row": 3, "detail": "message 2 has no text"}
    ]
    assert written["datasets"][0]["name"] == "a"
    assert written["train"]["lengths"]["longest"] == written["train"]["longest_tokens"] == 30


def test_the_summary_is_for_people() -> None:
    assert build().report().summary() == [
        "train: 107 rows, 1,090 tokens, 535 in the loss (49%), 1 images of 20 tokens, longest 30",
        "of 109 rows read, 105 cut to fit (first: 0.json, row 10: 1 of 2 exchanges cut)",
        "of 109 rows read, 1 dropped as too long (first: 0.json, row 2: 99 tokens, cutoff_len is 64)",
        "of 109 rows read, 1 skipped as unusable (first: 0.json, row 3: message 2 has no text)",
    ]


def test_a_report_of_a_part_says_so() -> None:
    part = build(num_rows=5000).report()
    assert not part.complete and part.to_dict()["rows"]["of"] == 5000
    assert "looked at so far: 109 of 5,000 rows" in part.summary()
    streamed = build(num_rows=None).report()
    assert not streamed.complete and streamed.to_dict()["rows"]["of"] is None
    assert "looked at so far: 109 of an unknown number of rows" in streamed.summary()


def test_held_out_rows_stand_apart() -> None:
    builder = ReportBuilder([DatasetFacts("a", "a.json", 2), DatasetFacts("b", "b.json", 1, "eval")], cutoff_len=64)
    builder.add(kept(0, num_tokens=8, num_supervised=2), used_for="train")
    builder.add(kept(1, num_tokens=9, num_supervised=2), used_for="eval")
    video = kept(0, num_tokens=40, num_supervised=4, num_media_tokens=30, dataset=1, kinds=("video", "audio"))
    builder.add(video, used_for="eval")
    report = builder.report()
    assert report.complete and report.eval is not None
    assert (report.train.rows, report.eval.rows) == (1, 2)
    assert [(dataset.rows_read, dataset.used_for) for dataset in report.datasets] == [(2, "train"), (1, "eval")]
    assert report.summary()[1] == (
        "held out: 2 rows, 49 tokens, 6 in the loss (12%), 1 videos, 1 audio clips of 30 tokens, longest 40"
    )


def test_a_resumed_report_goes_on_where_it_was() -> None:
    def through_json(builder: ReportBuilder) -> ReportBuilder:
        return ReportBuilder.from_json(json.loads(json.dumps(builder.to_json())))

    whole = ReportBuilder([DatasetFacts("a", "a.json", len(MIXED))], cutoff_len=64)
    resumed = ReportBuilder([DatasetFacts("a", "a.json", len(MIXED))], cutoff_len=64)
    for number, outcome in enumerate(MIXED):
        whole.add(outcome, used_for="train" if number % 3 else "eval")
        resumed.add(outcome, used_for="train" if number % 3 else "eval")
        resumed.add_padding(number)
        whole.add_padding(number)
        if number % 40 == 0:
            resumed = through_json(resumed)
    assert resumed.report() == whole.report()


def test_the_state_does_not_grow_with_the_rows() -> None:
    def state_of(num_rows: int) -> str:
        builder = ReportBuilder([DatasetFacts("a", "a.json", None)], cutoff_len=4096)
        for row in range(num_rows):
            builder.add(
                kept(row % 1000, num_tokens=1 + row % 4096, num_supervised=1, cut="text cut: …"), used_for="train"
            )
        return json.dumps(builder.to_json())

    assert len(state_of(20_000)) < 1.2 * len(state_of(5_000)) < 40_000


def test_nothing_read_is_no_division_by_zero() -> None:
    report: DataReport = ReportBuilder([DatasetFacts("a", "a.json", 3)], cutoff_len=64).report()
    assert report.summary()[0] == "train: 0 rows, 0 tokens, longest 0"
    assert report.train.lengths.bars == () and not report.complete
