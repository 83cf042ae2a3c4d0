"""Values computed before the training are those of the reference itself, and are computed once."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

import pytest
import torch

from tests.train.preference_runs import write_preferences
from tests.train.reference.prepared import prepare
from tunesmith.config.read import load_settings_from
from tunesmith.data.cache.cache_file import CacheFile
from tunesmith.data.feed.order import ListedOrder
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError, UsageError
from tunesmith.train.reference.kinds import AdapterOff, OtherModel
from tunesmith.train.reference.precompute import wants_precompute

ROWS = ListedOrder(tuple(RowRef(0, 0, row, (row, 1)) for row in range(100)))


class Uncounted(ListedOrder):
    """The rows of a stream."""

    def num_rows(self, epoch):
        return None


def wants(kind, order=ROWS, **changes):
    return wants_precompute(load_settings_from({"stage": "dpo", "num_train_epochs": 1, **changes}), kind, order)


def test_auto_computes_before_where_it_saves_memory_or_time():
    assert not wants("adapter off")
    assert wants("adapter off", num_train_epochs=2)
    assert wants("frozen copy")
    assert wants("other model")


def test_auto_does_not_compute_rows_that_will_not_come_up():
    assert not wants("frozen copy", num_train_epochs=0.5)
    assert not wants("frozen copy", max_steps=10, per_device_train_batch_size=2)
    assert wants("frozen copy", max_steps=100, per_device_train_batch_size=2)
    assert not wants("adapter off", max_steps=50, per_device_train_batch_size=2)


def test_what_the_settings_say_wins_but_nobody_knows_the_rows_of_a_stream():
    assert wants("adapter off", precompute_ref=True)
    assert not wants("frozen copy", precompute_ref=False)
    assert not wants("frozen copy", order=Uncounted(()))
    with pytest.raises(UsageError, match="precompute_ref: true needs to know all rows"):
        wants("frozen copy", order=Uncounted(()), precompute_ref=True)


@pytest.mark.parametrize("stage", ["dpo", "kto"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("images", [False, True], ids=["text", "images"])
def test_values_of_batches_of_three_are_those_of_batches_of_two(stage, tuning, images, tmp_path, request):
    model = request.getfixturevalue("qwen2_5_vl_folder" if images else "qwen2_folder")
    prepared = prepare(model, tmp_path, stage=stage, images=images, finetuning_type=tuning)

    assert prepared.precompute(size=3)

    compared = 0
    for batch in prepared.batches(size=2, with_values=True):
        for part in (batch, batch.mismatched):
            if part is not None:
                live = prepared.reference.log_probabilities(prepared.forward.model, part)
                assert (part.answers.reference - live).abs().max() <= 1e-12 * live.abs().max()
                compared += len(live)
    assert compared > 100


def test_in_the_same_batches_they_are_equal_bit_for_bit(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path)
    prepared.precompute(size=2)
    for batch in prepared.batches(size=2, with_values=True):
        live = prepared.reference.log_probabilities(prepared.forward.model, batch)
        assert torch.equal(batch.answers.reference, live)


@dataclass
class Interrupted:
    """A reference during whose third batch somebody presses ^C."""

    inner: AdapterOff | OtherModel
    calls: int = 0

    @property
    def description(self):
        return self.inner.description

    def log_probabilities(self, model, batch):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return self.inner.log_probabilities(model, batch)

    def sharing(self, model):
        return self.inner.sharing(model)


def test_a_pass_that_was_interrupted_goes_on_with_the_rows_it_has_not_kept(qwen2_folder, tmp_path, caplog):
    logging.getLogger("tunesmith").propagate = True
    prepared = prepare(qwen2_folder, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        replace(prepared, reference=Interrupted(prepared.reference)).precompute(size=2)
    assert [ref.row for ref in prepared.values.lacking(prepared.refs)] == [2, 3, 4, 5, 6]

    with caplog.at_level(logging.INFO, logger="tunesmith"):
        assert prepared.precompute(size=2)

    assert "computing what 5 rows are compared with (itself with its adapter off), once" in caplog.text
    assert caplog.messages[-1] == "rows: 5 of 5"
    assert prepared.values.lacking(prepared.refs) == []
    caplog.clear()
    assert prepared.precompute()
    assert caplog.messages == []


def break_row(folder, number):
    rows = json.loads((folder / "rows.json").read_text())
    rows[number]["messages"] = []
    (folder / "rows.json").write_text(json.dumps(rows))


@pytest.mark.parametrize("broken", [[0], [3], [6], [0, 1, 2, 3, 4, 5]])
def test_rows_that_may_be_skipped_are_skipped_and_not_looked_at_again(qwen2_folder, tmp_path, broken):
    write_preferences(tmp_path, stage="dpo", count=7)
    for number in broken:
        break_row(tmp_path, number)
    prepared = prepare(qwen2_folder, tmp_path, on_bad_row="skip")

    assert prepared.precompute()

    assert prepared.values.lacking(prepared.refs) == []
    assert sum(len(batch.refs) for batch in prepared.batches(size=2, with_values=True)) == 7 - len(broken)


def test_where_only_unusable_rows_are_lacking_there_is_nothing_to_compute(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path, on_bad_row="skip")
    assert prepared.precompute()
    break_row(tmp_path, 4)
    again = prepare(qwen2_folder, tmp_path, on_bad_row="skip")
    assert [ref.row for ref in again.values.lacking(again.refs)] == [4]

    assert again.precompute()

    assert again.values.lacking(again.refs) == []


@pytest.mark.parametrize("on_bad_row", ["stop", "skip"])
def test_a_picture_that_broke_stops_the_pass_or_leaves_its_row_out(qwen2_5_vl_folder, tmp_path, on_bad_row):
    prepared = prepare(qwen2_5_vl_folder, tmp_path, count=5, images=True, on_bad_row=on_bad_row)
    picture = tmp_path / "3.png"
    picture.write_bytes(picture.read_bytes()[:60])

    if on_bad_row == "stop":
        with pytest.raises(DataError, match=r"rows.json, row 3"):
            prepared.precompute(size=1)
    else:
        assert prepared.precompute(size=2)
        assert prepared.values.lacking(prepared.refs) == []


def test_values_that_cannot_be_kept_are_told_of(qwen2_folder, tmp_path):
    prepared = prepare(qwen2_folder, tmp_path)
    full = CacheFile(tmp_path / "full" / "values.sqlite", max_bytes=0)
    assert not replace(prepared, values=replace(prepared.values, file=full)).precompute()


def test_without_the_encoding_cache_nothing_is_left_behind(qwen2_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    prepared = prepare(qwen2_folder, tmp_path, encoding_cache=False)
    assert prepared.precompute()
    assert prepared.values.file.path.is_file()
    assert not (tmp_path / "cache").exists()


def test_with_overwrite_cache_only_new_values_count(qwen2_folder, tmp_path):
    assert prepare(qwen2_folder, tmp_path).precompute()
    anew = prepare(qwen2_folder, tmp_path, overwrite_cache=True)
    assert len(anew.values.lacking(anew.refs)) == 7
    assert anew.precompute()
    assert anew.values.lacking(anew.refs) == []
