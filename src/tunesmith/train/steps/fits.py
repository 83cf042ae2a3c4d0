"""How large a micro-batch may be to fit into memory, learned where one did not.

What is remembered are sizes that fit where something larger had not: whatever is at least as large in tokens and in
media, and larger in one of them, is split before it is tried. A batch of long texts is not judged by one of large
pictures. Knows nothing of memory itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.data.batches.batch import Batch


@dataclass(frozen=True, slots=True)
class BatchSize:
    """positions:    tokens, padding included
    media_values: numbers in the tensors made of pictures, videos and sound
    """

    positions: int
    media_values: int = 0

    def reaches(self, other: BatchSize) -> bool:
        """Whether this is at least as large in both."""
        return self.positions >= other.positions and self.media_values >= other.media_values

    def __str__(self) -> str:
        media = f" and {self.media_values:,} media values" if self.media_values else ""
        return f"{self.positions:,} tokens{media}"


def size_of(batch: Batch) -> BatchSize:
    """The size of a batch; of KTO's with the mismatched answers."""
    media = (tensor for name, tensor in batch.inputs.items() if tensor.is_floating_point() and name != "attention_mask")
    own = BatchSize(batch.labels.numel(), sum(tensor.numel() for tensor in media))
    if batch.mismatched is None:
        return own
    return BatchSize(own.positions + batch.mismatched.labels.numel(), own.media_values)


def hull(sizes: Iterable[BatchSize]) -> BatchSize:
    """As large as the largest in each."""
    sizes = list(sizes)
    return BatchSize(max(size.positions for size in sizes), max(size.media_values for size in sizes))


@dataclass(slots=True)
class Fits:
    """The sizes known to fit; none where nothing was ever too large."""

    sizes: list[BatchSize] = field(default_factory=list)

    def is_too_large(self, size: BatchSize) -> bool:
        """Whether something as large is known not to fit, or not known to."""
        return any(size != fit and size.reaches(fit) for fit in self.sizes)

    def learn(self, fit: BatchSize) -> bool:
        """Remember a size that fits where a larger one did not; whether that is new."""
        if fit in self.sizes or self.is_too_large(fit):
            return False
        self.sizes = [*(known for known in self.sizes if not known.reaches(fit)), fit]
        return True

    def to_json(self) -> list[dict[str, int]]:
        """Plain types."""
        return [asdict(size) for size in self.sizes]

    @classmethod
    def from_json(cls, content: Iterable[Mapping[str, Any]]) -> Fits:
        """The inverse of to_json."""
        return cls([BatchSize(int(size["positions"]), int(size["media_values"])) for size in content])
