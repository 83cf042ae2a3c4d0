"""The micro-batches of every step, from any step on."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.chat.message import RowSource
from tunesmith.config.training import TrainingSettings
from tunesmith.data.encoded import Encoded
from tunesmith.train.steps.feed import Feed
from tunesmith.train.steps.plan import plan_steps


class ListingCollator:
    """Stands where the model's collator does; a batch is the list of its rows."""

    def __call__(self, examples):
        return [example.source.row for example in examples]


def steps(first_step=0, **settings):
    """The rows of every micro-batch of every step, of ten examples."""
    ids = np.zeros(3, dtype=np.int32)
    examples = [Encoded(ids, ids, None, (), 0, False, RowSource("rows", row)) for row in range(10)]
    training = TrainingSettings(
        **{"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 2, **settings}
    )
    return list(Feed(examples, ListingCollator(), plan_steps(training, num_examples=10), training).steps(first_step))


def test_an_epoch_takes_every_row_once_and_ends_with_a_shorter_step():
    made = steps()
    assert [len(step) for step in made] == [2, 2, 1, 2, 2, 1]
    for epoch in (made[:3], made[3:]):
        assert sorted(row for step in epoch for batch in step for row in batch) == list(range(10))
    assert made[:3] != made[3:]


@pytest.mark.parametrize("first_step", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_it_starts_anywhere_with_the_same_rows(first_step, num_workers):
    assert steps(first_step, dataloader_num_workers=num_workers) == steps()[first_step:]


def test_max_steps_ends_in_the_middle_of_an_epoch():
    assert steps(max_steps=4) == steps()[:4]


def test_order_follows_data_seed_then_seed_and_may_be_the_files():
    assert steps(data_seed=1) == steps(data_seed=1, seed=9) != steps(data_seed=2)
    assert steps(disable_shuffling=True)[0] == [[0, 1], [2, 3]]
