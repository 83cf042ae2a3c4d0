"""What is remembered of sizes that fit, and what is split before it is tried."""

from __future__ import annotations

from tests.train.batches import make_batch, make_rows
from tunesmith.train.steps.fits import BatchSize, Fits, hull, size_of


def test_what_is_larger_than_something_that_fitted_is_too_large():
    fits = Fits()
    assert not fits.is_too_large(BatchSize(10**6))
    assert fits.learn(BatchSize(100))
    assert [fits.is_too_large(BatchSize(size)) for size in (99, 100, 101)] == [False, False, True]


def test_long_texts_are_not_judged_by_large_pictures():
    fits = Fits()
    fits.learn(BatchSize(50, media_values=5000))
    assert not fits.is_too_large(BatchSize(4000))
    assert not fits.is_too_large(BatchSize(40, media_values=9000))
    assert fits.is_too_large(BatchSize(51, media_values=5000))
    assert fits.is_too_large(BatchSize(50, media_values=5001))


def test_only_what_says_something_new_is_kept():
    fits = Fits()
    assert fits.learn(BatchSize(100, 10))
    assert not fits.learn(BatchSize(100, 10))
    assert not fits.learn(BatchSize(200, 10))  # would be split already
    assert fits.learn(BatchSize(40, 5))  # says all that the first one said
    assert fits.learn(BatchSize(80, 0))
    assert fits.sizes == [BatchSize(40, 5), BatchSize(80, 0)]
    assert Fits.from_json(fits.to_json()) == fits


def test_the_size_counts_padding_and_media():
    text = make_batch(make_rows("qwen2", 3))
    assert size_of(text) == BatchSize(text.labels.numel())
    pictures = make_batch(make_rows("qwen2_5_vl", 2))
    assert size_of(pictures) == BatchSize(pictures.labels.numel(), 2 * 16 * 1176)
    assert str(size_of(pictures)) == f"{pictures.labels.numel():,} tokens and 37,632 media values"
    assert hull([BatchSize(3, 8), BatchSize(5, 2)]) == BatchSize(5, 8)
