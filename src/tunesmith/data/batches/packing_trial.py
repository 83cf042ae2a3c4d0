"""Two of a run's own examples, packed and alone, for the proof that its model keeps them apart."""

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

    Raises DataError, naming the row, for media that cannot be read.
    """
    first, second = _choose(examples)
    media = [media_of(first), media_of(second)]
    return Trial(
        lengths=(len(first), len(second)),
        packed=packed([first, second], media).inputs,
        padded=padded([first, second], media).inputs,
        alone=(padded([first], media[:1]).inputs, padded([second], media[1:]).inputs),
    )


def _choose(examples: Sequence[Encoded]) -> tuple[Encoded, Encoded]:
    ordered = sorted(examples, key=lambda example: (not example.media, len(example) < _ENOUGH_TOKENS, len(example)))
    return ordered[0], ordered[min(1, len(ordered) - 1)]
