"""The same batches in the same order, wherever one starts and however many workers make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.data.rows import assistant, build_encoder, conversation, picture, user
from tunesmith.chat.message import Media
from tunesmith.data.collate import Batch, Collator
from tunesmith.data.encoded import Encoded
from tunesmith.data.loader import build_loader, epoch_order
from tunesmith.errors import DataError
from tunesmith.models.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.fixture(scope="module")
def preprocessor(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2_5_vl")


@pytest.fixture(scope="module")
def examples(preprocessor: Preprocessor) -> list[Encoded]:
    encoder = build_encoder(preprocessor)
    return [
        encoder.encode(
            conversation(user(picture(40 + 9 * row, 60, seed=row), "what?"), assistant(f"number {row}"), row=row)
        )
        for row in range(7)
    ]


def rows_of(batches: list[Batch]) -> list[list[int]]:
    return [[source.row for source in batch.sources] for batch in batches]


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert rows_of(first) == rows_of(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert all(torch.equal(value, other.inputs[name]) for name, value in one.inputs.items())


def test_order_is_a_permutation_of_seed_and_epoch() -> None:
    orders = [epoch_order(100, seed, epoch, True) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(100, 1, 1, True) == orders[3]
    assert epoch_order(4, 0, 5, False) == [0, 1, 2, 3]


def test_batches_follow_the_order(examples: list[Encoded], preprocessor: Preprocessor) -> None:
    loader = build_loader(examples, Collator(preprocessor), [6, 0, 3, 2, 5], batch_size=2)
    assert rows_of(list(loader)) == [[6, 0], [3, 2], [5]]
    assert len(loader) == 3


@pytest.mark.parametrize("first_batch", [1, 3, 4])
def test_a_loader_starts_at_any_batch(first_batch: int, examples: list[Encoded], preprocessor: Preprocessor) -> None:
    order, collator = epoch_order(7, 3, 0, True), Collator(preprocessor)
    whole = list(build_loader(examples, collator, order, batch_size=2))
    rest = list(build_loader(examples, collator, order, batch_size=2, first_batch=first_batch))
    assert_equal(rest, whole[first_batch:])


def test_workers_change_nothing(examples: list[Encoded], preprocessor: Preprocessor) -> None:
    order, collator = epoch_order(7, 3, 0, True), Collator(preprocessor)
    alone = list(build_loader(examples, collator, order, batch_size=2))
    helped = list(build_loader(examples, collator, order, batch_size=2, num_workers=2, prefetch_factor=2))
    assert_equal(alone, helped)


def test_the_global_random_state_is_left_alone(examples: list[Encoded], preprocessor: Preprocessor) -> None:
    state = torch.get_rng_state()
    list(build_loader(examples[:2], Collator(preprocessor), [0, 1], batch_size=1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failure_in_a_worker_names_file_and_row(
    num_workers: int, examples: list[Encoded], preprocessor: Preprocessor
) -> None:
    broken = [*examples[:3], replace(examples[3], media=(Media("image", "gone.png"),))]
    loader = build_loader(broken, Collator(preprocessor), [0, 1, 2, 3], batch_size=2, num_workers=num_workers)
    with pytest.raises(DataError) as raised:
        list(loader)
    assert str(raised.value).startswith("rows.json, row 3: gone.png")
    assert "Traceback" not in str(raised.value)
