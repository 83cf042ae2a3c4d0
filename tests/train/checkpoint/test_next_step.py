"""The step that comes next: seen without being taken, and told by what it is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.train.batches import make_batch, make_rows
from tunesmith.chat.message import Media, RowSource
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.errors import DataError
from tunesmith.train.checkpoint.fingerprint import Fingerprint
from tunesmith.train.checkpoint.next_step import Lookahead, describe_step
from tunesmith.train.checkpoint.proof import prove
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.feed import FedStep
from tunesmith.train.steps.place import Place

ROWS = make_rows("qwen2", 6)


def sample(row, *pictures, label=5):
    ids = np.arange(4, dtype=np.int32) + row
    labels = np.full(4, label, dtype=np.int32)
    media = tuple(Media("image", str(picture)) for picture in pictures)
    return Encoded(ids, labels, None, media, 0, False, RowSource("rows.json", row))


def step(*samples, numbers=(0,)):
    batches = tuple(
        replace(make_batch(ROWS[:1]), number=number, samples=samples, sources=tuple(one.source for one in samples))
        for number in numbers
    )
    return FedStep(batches=batches, outcomes=(), after=Place(1), num_micro_batches=len(numbers))


def describe(fed):
    return describe_step(SingleProcess(), fed)


def test_a_look_at_the_next_step_takes_nothing():
    first, second = step(sample(0)), step(sample(1))
    steps = Lookahead(iter([first, second]))
    assert steps.peek() is first
    assert steps.peek() is first
    assert next(steps) is first
    assert next(steps) is second
    assert steps.peek() is None
    assert next(steps, None) is None


def test_what_goes_wrong_is_told_when_its_turn_comes():
    def broken():
        yield step(sample(0))
        raise DataError("row 7 cannot be read")

    steps = Lookahead(broken())
    next(steps)
    assert steps.peek() is None
    with pytest.raises(DataError, match="row 7"):
        next(steps)


def test_fillers_do_not_count():
    real = step(sample(0), numbers=(0, 1))
    kept, filler = real.batches
    assert describe(replace(real, batches=(kept, replace(filler, is_filler=True)))) == describe(step(sample(0)))


def test_every_difference_is_named(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    kept = describe(step(sample(3, picture)))
    assert describe(step(sample(3, picture))) == kept
    fingerprint = Fingerprint({}, "", "single", 1, kept)

    def said(fed):
        return prove(4, fingerprint, describe(fed), engine="single", num_processes=1).describe()

    assert said(step(sample(3, picture))) == (
        "resumed at step 4: weights, optimiser, data position and next batch match the checkpoint"
    )
    assert "next batch: begins at other rows (rows.json, row 9" in said(step(sample(9, picture)))
    assert "have other text or ids now" in said(step(sample(3, picture, label=6)))
    assert "has more or fewer micro-batches" in said(step(sample(3, picture), numbers=(0, 1)))
    assert "next batch: there is none any more" in said(None)
    picture.write_bytes(b"two")
    assert "have other pictures, videos or sounds now: their files changed" in said(step(sample(3, picture)))


def test_both_ends_and_the_size_of_a_long_file_count(tmp_path):
    video = tmp_path / "a.mp4"
    seen = set()
    for content in (b"a" * 6_000_000, b"a" * 6_000_001, b"b" + b"a" * 5_999_999, b"a" * 5_999_999 + b"b"):
        video.write_bytes(content)
        seen.add(describe(step(sample(0, video)))[0].media)
    assert len(seen) == 4


def test_another_number_of_processes_is_said_beside():
    kept = Fingerprint({}, "", "ddp", 2, None)
    said = prove(4, kept, None, engine="single", num_processes=1).describe()
    assert said == (
        "resumed at step 4: weights, optimiser, data position and next batch match the checkpoint; written by 2 "
        "processes (ddp), goes on with 1 process (single): the same rows in every step, sums in another order"
    )
    assert prove(4, None, None, engine="ddp", num_processes=2).is_whole is False
