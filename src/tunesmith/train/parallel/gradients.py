"""Gradients of a step as a whole: none missing, and their sum over processes.

A weight that got no gradient in a step (a vision tower in a step of text) has gradient zero, as it has in one batch of
all rows: only then do engines with flat buffers take the same steps as one process. Knows no engines and no optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

_BUCKET_BYTES = 64 * 2**20
"""What is copied together, so that many small weights make few messages."""


def fill_missing(parameters: Iterable[Tensor]) -> None:
    """Give every weight that got no gradient one of zeros."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def sum_in_buckets(
    tensors: Iterable[Tensor], all_reduce: Callable[[Tensor], None], *, bucket_bytes: int = _BUCKET_BYTES
) -> None:
    """Replace every tensor by its sum over the processes; `all_reduce` does so with a flat one, in place.

    All processes must give tensors of the same shapes in the same order.
    """
    for bucket in _buckets(tensors, bucket_bytes):
        if len(bucket) == 1 and bucket[0].is_contiguous():
            all_reduce(bucket[0])
            continue
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Iterable[Tensor], bucket_bytes: int) -> Iterator[list[Tensor]]:
    """Tensors that follow one another, of one format, up to `bucket_bytes` (one that is larger stands alone)."""
    bucket: list[Tensor] = []
    num_bytes = 0
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or num_bytes + tensor.nbytes > bucket_bytes):
            yield bucket
            bucket, num_bytes = [], 0
        bucket.append(tensor)
        num_bytes += tensor.nbytes
    if bucket:
        yield bucket
