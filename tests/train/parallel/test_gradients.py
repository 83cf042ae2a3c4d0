"""Gradients of a step: none missing, and sums in buckets of any size the same."""

from __future__ import annotations

import pytest
import torch

from tunesmith.train.parallel.gradients import fill_missing, sum_in_buckets


def test_a_weight_that_nothing_read_has_gradient_zero():
    read, unread = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    (read * 5).sum().backward()
    fill_missing([read, unread])
    assert torch.equal(read.grad, torch.full((2,), 5.0))
    assert torch.equal(unread.grad, torch.zeros(3))


@pytest.mark.parametrize("bucket_bytes", [1, 40, 10_000])
def test_buckets_change_no_sum(bucket_bytes):
    """Doubling stands for the sum with a process that holds the same; formats never share a bucket."""
    shapes = [(3,), (2, 4), (), (5, 1)]
    tensors = [torch.arange(float(max(torch.Size(shape).numel(), 1))).reshape(shape) for shape in shapes]
    tensors.insert(2, torch.ones(3, dtype=torch.bfloat16))
    tensors.append(torch.arange(6.0).reshape(2, 3).T)  # its numbers do not lie in a row
    expected = [tensor * 2 for tensor in tensors]
    sent: list[torch.Tensor] = []

    def all_reduce(flat: torch.Tensor) -> None:
        sent.append(flat)
        flat.mul_(2)

    sum_in_buckets(tensors, all_reduce, bucket_bytes=bucket_bytes)
    for tensor, wanted in zip(tensors, expected, strict=True):
        assert torch.equal(tensor, wanted)
    assert len(sent) == {1: 6, 40: 5, 10_000: 3}[bucket_bytes]
