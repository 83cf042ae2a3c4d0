"""Values are found again by a row's content and its media, and given to any batch of the rows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.train.reference.prepared import prepare
from tunesmith.errors import RunError


def fill(prepared, *, dtype=np.float64):
    """Values that say which they are, for every row."""
    made = {}
    for batch in prepared.batches(size=1, with_values=False):
        count = len(batch.targets) + (0 if batch.mismatched is None else len(batch.mismatched.targets))
        made[batch.refs[0]] = np.arange(count, dtype=dtype) + 1000 * batch.refs[0].row
    assert prepared.values.keep(made)
    return made


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_gets_the_values_of_its_rows_in_its_order_and_in_their_format(qwen2_folder, tmp_path, dtype):
    prepared = prepare(qwen2_folder, tmp_path)
    made = fill(prepared, dtype=dtype)
    assert prepared.values.lacking(prepared.refs) == []

    for batch in prepared.batches(size=3, with_values=True):
        expected = np.concatenate([made[ref] for ref in batch.refs])
        assert batch.answers.reference.numpy().dtype == dtype
        assert batch.answers.reference.tolist() == expected.tolist()


def test_the_mismatched_answers_of_judged_rows_get_the_second_part(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path, stage="kto")
    made = fill(prepared)

    for batch in prepared.batches(size=3, with_values=True):
        own, other = batch.answers, batch.mismatched.answers
        start = starts = 0
        for ref, count, others in zip(batch.refs, own.num_tokens, other.num_tokens, strict=True):
            assert own.reference[start : start + count].tolist() == made[ref][:count].tolist()
            assert other.reference[starts : starts + others].tolist() == made[ref][count:].tolist()
            start, starts = start + count, starts + others


def test_a_row_is_found_in_another_file_and_lacking_once_it_has_changed(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path)
    fill(prepared)
    rows = json.loads((tmp_path / "rows.json").read_text())
    (tmp_path / "rows.json").write_text(json.dumps([*reversed(rows[1:]), {**rows[0], "chosen": rows[1]["chosen"]}]))

    again = prepare(qwen2_folder, tmp_path)

    assert [ref.row for ref in again.values.lacking(again.refs)] == [6]


def test_values_hold_for_the_pictures_that_the_files_had(qwen2_5_vl_folder, tmp_path):
    prepared = prepare(qwen2_5_vl_folder, tmp_path, images=True)
    fill(prepared)
    assert prepared.values.lacking(prepared.refs) == []
    Image.new("RGB", (56, 56), (1, 2, 3)).save(tmp_path / "3.png")
    (tmp_path / "5.png").unlink()

    assert [ref.row for ref in prepared.values.lacking(prepared.refs)] == [3, 5]


def test_a_row_without_an_example_is_not_looked_at_again(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path)
    assert prepared.values.keep({prepared.refs[2]: None})
    assert [ref.row for ref in prepared.values.lacking(prepared.refs)] == [0, 1, 3, 4, 5, 6]


def test_a_batch_whose_values_are_gone_or_of_another_length_names_the_row(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path)
    batches = list(prepared.batches(size=3, with_values=False))
    with pytest.raises(RunError, match=r"rows.json, row 0: .* computed before the training"):
        prepared.values.give(batches[0])

    made = fill(prepared)
    prepared.values.keep({prepared.refs[1]: made[prepared.refs[1]][:-1]})
    with pytest.raises(RunError, match=r"rows.json, row 1: .* resume_from_checkpoint: true"):
        prepared.values.give(batches[0])


def test_a_batch_that_compares_nothing_stays_as_it_is(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path)
    batch = replace(next(iter(prepared.batches(size=2, with_values=False))), answers=None)
    assert prepared.values.give(batch) is batch
