"""The check of a run's data: every row once, whoever looks at it and however it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.checked import check_files, check_rows, dialogue, sound_rows, write_rows
from tunesmith.config.read import load_settings_from
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.check import NUM_SAMPLES, check_data
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.errors import DataError

ROWS = [*sound_rows(400), dialogue("Who?", ""), dialogue("What is it, in many words?", "word " * 3000), *sound_rows(3)]


@pytest.fixture
def model(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("qwen2")


def test_processes_find_what_one_finds(model: Path, tmp_path: Path) -> None:
    alone = check_rows(model, tmp_path, ROWS)
    together = check_rows(model, tmp_path, ROWS, preprocessing_num_workers=2)
    assert together.to_dict() == alone.to_dict()
    report = together.survey.report
    assert (report.rows_read, report.train.rows, len(report.cut), len(report.skipped)) == (405, 404, 1, 1)
    assert report.complete


def test_a_limit_looks_at_the_first_rows_of_each_dataset(model: Path, tmp_path: Path) -> None:
    files = [write_rows(tmp_path, sound_rows(20, start=100 * n), name=f"{n}.json") for n in range(2)]
    checked = check_files(model, limit=5, dataset=",".join(map(str, files)))
    report = checked.survey.report
    assert [(dataset.rows_read, dataset.num_rows) for dataset in report.datasets] == [(5, 20), (5, 20)]
    assert checked.to_dict()["complete"] is False and checked.to_dict()["rows"]["of"] == 40


def test_val_size_holds_out_rows_of_the_same_files(model: Path, tmp_path: Path) -> None:
    report = check_rows(model, tmp_path, sound_rows(50), val_size=0.2).survey.report
    assert report.eval is not None
    assert (report.train.rows, report.eval.rows, report.rows_read) == (40, 10, 50)


def test_streaming_reads_to_the_end_without_counting_first(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sound_rows(150)))
    report = check_files(model, dataset=str(file), streaming=True, max_steps=1).survey.report
    assert (report.rows_read, report.num_rows, report.complete) == (150, None, False)
    assert check_files(model, dataset=str(file), streaming=True, max_steps=1, limit=70).survey.report.rows_read == 70


def test_streaming_holds_out_the_first_rows(model: Path, tmp_path: Path) -> None:
    files = [write_rows(tmp_path, sound_rows(90, start=100 * n), name=f"{n}.json") for n in range(2)]
    keys: dict[str, Any] = {"dataset": ",".join(map(str, files)), "streaming": True, "val_size": 141}
    report = check_files(model, **keys).survey.report
    assert report.eval is not None
    assert (report.train.rows, report.eval.rows) == (39, 141)


def test_progress_counts_every_row(model: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    keys = {"model_name_or_path": str(model), "dataset": str(write_rows(tmp_path, sound_rows(150)))}
    settings = load_settings_from({**keys, "encoding_cache": False}, verb="data")
    check_data(settings, limit=None, watch=lambda done, total: told.append((done, total)))
    assert told[-1] == (150, 150)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_first_samples_of_each_dataset_are_kept_whole(model: Path, tmp_path: Path) -> None:
    rows: list[Any] = [sound_rows(1)[0], "no row", *sound_rows(20)]
    samples = check_rows(model, tmp_path, rows).samples
    assert len(samples) == NUM_SAMPLES
    assert isinstance(samples[0], PreviewedRow) and isinstance(samples[1], RowProblem)


def test_the_cache_changes_nothing(model: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"dataset": str(write_rows(tmp_path, ROWS)), "encoding_cache": True}
    first = check_files(model, **keys)
    assert check_files(model, **keys).to_dict() == first.to_dict()


def test_a_file_that_cannot_be_read_is_no_finding(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[{")
    with pytest.raises(DataError, match=r"rows\.json"):
        check_files(model, dataset=str(tmp_path / "rows.json"))


def test_rows_for_evaluation_alone(model: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path, sound_rows(5))
    checked = check_files(model, eval_dataset=str(file), do_train=False, do_eval=True)
    assert checked.findings == () and len(checked.samples) == 5
    assert checked.survey.report.eval is not None and checked.survey.report.eval.rows == 5
