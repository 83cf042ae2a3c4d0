"""Whether a step's loss or gradient norm is far from what the run has had: a sign of an explosion, never a reason to
stop.

A step is out of the ordinary where its number is both several times the median of the last steps and well above
everything the run has ever had. The median alone would raise alarms at the first hard row of a run that has learned its
rows by heart; the highest alone at a run's beginning. Knows nothing of where numbers come from.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median

_WINDOW = 64
_LEAST = 20
"""Steps before anything is called unusual."""


@dataclass(slots=True)
class Usual:
    """The run's own level of one number.

    times_median, times_highest: how far above both it must be
    highest: of the run so far; checkpoints keep it
    """

    times_median: float
    times_highest: float
    highest: float = 0.0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW), init=False)

    def take_in(self, value: float) -> str | None:
        """Take in one step's number; what is unusual about it, None if nothing is."""
        if not math.isfinite(value):
            return None
        found = None
        if len(self._recent) >= _LEAST:
            middle = median(self._recent)
            if value > self.times_median * middle and value > self.times_highest * self.highest:
                found = (
                    f"{value:.4g}, where the last {len(self._recent)} steps had {middle:.4g} (median) and the run "
                    f"never more than {self.highest:.4g}"
                )
        self._recent.append(value)
        self.highest = max(self.highest, value)
        return found


def usual_loss(highest: float = 0.0) -> Usual:
    """Losses: five times the median, twice the highest. One that has diverged is near that of guessing (about 12)."""
    return Usual(times_median=5.0, times_highest=2.0, highest=highest)


def usual_norm(highest: float = 0.0) -> Usual:
    """Gradient norms vary more than losses do: twenty times the median, five times the highest."""
    return Usual(times_median=20.0, times_highest=5.0, highest=highest)
