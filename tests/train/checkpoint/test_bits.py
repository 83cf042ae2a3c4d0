"""Sums of bits: the same however a tensor is cut, and never the same after a change."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tunesmith.train.checkpoint.bits import as_text, sum_bits

FORMATS = [torch.float64, torch.float32, torch.bfloat16, torch.uint8]


def numbers(count, dtype):
    generator = torch.Generator().manual_seed(count)
    if dtype == torch.uint8:
        return torch.randint(0, 256, (count,), dtype=dtype, generator=generator)
    return torch.randn(count, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_sums_of_parts_add_up_wherever_the_cuts_are(dtype):
    whole = numbers(1001, dtype)
    for cuts in ([0, 500, 1001], [0, 1, 3, 6, 10, 700, 1001], [0, 0, 1001, 1001]):
        parts = sum(int(sum_bits(whole[start:end], start=start)) for start, end in pairwise(cuts))
        assert as_text(parts) == as_text(int(sum_bits(whole)))


def test_a_tensor_longer_than_what_is_taken_at_a_time_sums_like_its_parts():
    whole = numbers(300_000, torch.float32)
    parts = sum(int(sum_bits(whole[start : start + 7001], start=start)) for start in range(0, 300_000, 7001))
    assert as_text(parts) == as_text(int(sum_bits(whole)))


def test_changed_exchanged_and_moved_numbers_show():
    whole = numbers(4096, torch.float32)
    seen = {as_text(int(sum_bits(whole)))}
    flipped, exchanged, moved = whole.clone(), whole.clone(), whole.roll(2)
    flipped.view(torch.int32)[77] ^= 1
    exchanged[[10, 3000]] = whole[[3000, 10]]
    for other in (flipped, exchanged, moved, -whole):
        seen.add(as_text(int(sum_bits(other))))
    assert len(seen) == 5


def test_strides_and_shapes_do_not_matter():
    whole = numbers(6 * 7, torch.float32).reshape(6, 7)
    assert sum_bits(whole.T.contiguous().T) == sum_bits(whole) == sum_bits(whole.reshape(-1))
    assert int(sum_bits(torch.zeros(3, 5))) == int(sum_bits(torch.empty(0))) == 0
