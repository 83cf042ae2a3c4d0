"""Two of a run's own examples, or the answers of one, packed and alone, to prove that its model keeps them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunesmith.chat.message import Media
from tunesmith.data.batches.collate import Collator
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.models.packing.proof import Trial

_ENOUGH_TOKENS = 16
"""What makes an example long enough to show something; shorter ones are taken where there are no others."""


def build_trial(
    examples: Sequence[Encoded],
    media_of: Callable[[Encoded], Sequence[Media]],
    *,
    packed: Collator,
    padded: Collator,
) -> Trial:
    """A trial of two short examples, with media if any has some; of the same one twice where there is only one.

    Of several answers the first is taken. Raises DataError, naming the row, for media that cannot be read.
    """
    chosen = [example.answer(0) if example.branches else example for example in _shortest_first(examples)[:2]]
    first, second = chosen[0], chosen[-1]
    media = [media_of(first), media_of(second)]
    return Trial(
        lengths=(len(first), len(second)),
        packed=packed([first, second], media).inputs,
        padded=padded([first, second], media).inputs,
        alone=(padded([first], media[:1]).inputs, padded([second], media[1:]).inputs),
    )


def build_sharing_trial(
    examples: Sequence[Encoded],
    media_of: Callable[[Encoded], Sequence[Media]],
    *,
    shared: Collator,
    padded: Collator,
) -> Trial | None:
    """A trial of one short example with two answers, with media if any has some; None where no example has two.

    Raises DataError, naming the row, for media that cannot be read.
    """
    ordered = _shortest_first([example for example in examples if len(example.branches) == 2])
    if not ordered:
        return None
    example, media = ordered[0], [media_of(ordered[0])]
    tree = shared([example], media)
    return Trial(
        lengths=tree.lengths,
        packed=tree.inputs,
        padded=padded([example], media).inputs,
        alone=(padded([example.answer(0)], media).inputs, padded([example.answer(1)], media).inputs),
        branches=tree.branches,
    )


def _shortest_first(examples: Sequence[Encoded]) -> list[Encoded]:
    return sorted(examples, key=lambda example: (not example.media, len(example) < _ENOUGH_TOKENS, len(example)))
