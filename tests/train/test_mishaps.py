"""What a run says of steps whose numbers are far from what it has had."""

from __future__ import annotations

import json
import logging

import pytest

from tests.train.batches import make_batch, make_rows
from tunesmith.train.bad_batches import BadBatches
from tunesmith.train.mishaps import Mishaps
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.counts import StepCounts
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import StepOutcome

BATCHES = [make_batch(make_rows("qwen2", 2))]


@pytest.fixture
def warnings(caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.WARNING, logger="tunesmith")
    return caplog


def mishaps_in(folder, state):
    return Mishaps(
        parallel=SingleProcess(),
        state=state,
        on_nan="stop",
        bad_batches=BadBatches(folder / "bad_batches", tokenizer=None, media_of=lambda sample: ()),
        keep_fits=lambda: None,
        smaller="",
    )


def outcome(loss, norm):
    counts = StepCounts(terms=10, supervised=10, tokens=20, positions=20)
    return StepOutcome(loss * 10, counts, learning_rate=1e-4, grad_norm=norm)


def test_an_explosion_is_warned_of_and_its_micro_batches_are_kept(tmp_path, warnings):
    state = TrainState()
    mishaps = mishaps_in(tmp_path, state)
    for step in range(1, 31):
        mishaps.took(outcome(1.0, 0.5), BATCHES, step=step)
    mishaps.took(outcome(8.0, 0.6), BATCHES, step=31)
    mishaps.took(outcome(8.1, 40.0), BATCHES, step=32)
    first, second = (record.message for record in warnings.records)
    assert "step 31: the loss is 8, where the last 30 steps had 1 (median) and the run never more than 1" in first
    assert f"its micro-batches are kept in {tmp_path / 'bad_batches' / 'step-31-rank-0'}" in first
    assert "step 32: the gradient norm is 40, where the last 31 steps had 0.5" in second
    told = json.loads((tmp_path / "bad_batches" / "step-31-rank-0" / "rows.json").read_text())
    assert told["why"].startswith("the loss is 8")
    assert (state.highest_loss, state.highest_grad_norm) == (8.1, 40.0)


def test_a_run_that_keeps_failing_does_not_fill_the_disk(tmp_path):
    kept = BadBatches(tmp_path / "bad_batches", tokenizer=None, media_of=lambda sample: ())
    places = [kept.keep(BATCHES, step=step, rank=0, facts={}) for step in range(102)]
    assert places[99] == tmp_path / "bad_batches" / "step-99-rank-0"
    assert places[100:] == [None, None]
    assert kept.keep(BATCHES, step=5, rank=0, facts={"why": "again"}) == places[5]
    assert json.loads((places[5] / "rows.json").read_text())["why"] == "again"
