"""How the tokens of a packed sequence see each other: a forest, cut into strands that are computed one by one.

A plain sample is one strand. A sample with several answers is a tree: its beginning with the first answer is a strand,
and every further answer one that sees the beginning before itself, but no other answer. Pure functions of lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Strand:
    """`num_tokens` tokens from `start` on, and before them the `shared` first tokens of their sample, at `root`.

    The strands of a sequence lie behind each other without gaps; `start` is `root` where nothing is shared.
    """

    root: int
    shared: int
    start: int
    num_tokens: int

    @property
    def length(self) -> int:
        """Tokens of the sample that this strand would be by itself."""
        return self.shared + self.num_tokens

    @property
    def stop(self) -> int:
        """The token behind its last one."""
        return self.start + self.num_tokens


def strands_of(lengths: Sequence[int], branches: Sequence[tuple[int, ...]] = ()) -> tuple[Strand, ...]:
    """The strands of a packed sequence, in order.

    lengths:  tokens of each sample, all its answers included
    branches: for each sample the tokens of its several answers, () for a plain one; () where no sample has any
    """
    if not branches:
        branches = ((),) * len(lengths)
    roots = accumulate(lengths, initial=0)
    samples = zip(roots, lengths, branches, strict=False)  # one root more: the end of the sequence
    return tuple(strand for root, length, parts in samples for strand in _strands_of_sample(root, length, parts))


def _strands_of_sample(root: int, length: int, branches: Sequence[int]) -> Iterator[Strand]:
    shared, start = length - sum(branches), root + length - sum(branches[1:])
    yield Strand(root, 0, root, start - root)
    for num_tokens in branches[1:]:
        yield Strand(root, shared, start, num_tokens)
        start += num_tokens
