"""Scores as they came from a reward, checked: as many as answers, each a finite number or None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tunesmith.chat.message import RowSource
from tunesmith.errors import UsageError


def check_scores(name: str, scores: Sequence[Any], sources: Sequence[RowSource]) -> list[float | None]:
    """`scores` of the reward `name` as plain numbers, one for each of the rows in `sources`.

    Raises UsageError that names the reward, and the row where it is about one.
    """
    if len(scores) != len(sources):
        raise UsageError(
            f"reward_funcs: {name} returned {len(scores)} scores for {len(sources)} answers (the first to "
            f"{sources[0]}); return one for each, in their order"
        )
    return [_check(name, score, source) for score, source in zip(scores, sources, strict=True)]


def _check(name: str, score: Any, source: RowSource) -> float | None:
    if score is None:
        return None
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(
            f"reward_funcs: {name} returned {score!r} for an answer to {source}; expected a finite number, or None "
            "where it does not apply"
        )
    return number
