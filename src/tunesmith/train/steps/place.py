"""Where a run is between two steps: what a checkpoint keeps so that the very next row comes next.

Knows nothing of tensors, files or how many steps there will be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.data.feed.position import FeedPosition


@dataclass(frozen=True, slots=True)
class Place:
    """A place after `step` finished steps.

    feed:       where the next micro-batch is taken from
    epoch:      the epoch of the last step, from 0
    rows:       rows of that epoch that are used up, those left out included
    ends_epoch: whether the last step was that epoch's last
    """

    step: int = 0
    feed: FeedPosition = field(default_factory=FeedPosition)
    epoch: int = 0
    rows: int = 0
    ends_epoch: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {**asdict(self), "feed": self.feed.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Place:
        """The inverse of to_json."""
        return cls(**{**content, "feed": FeedPosition.from_json(content["feed"])})
