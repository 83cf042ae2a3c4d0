"""Durations as a person says them."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def describe_duration(seconds: float) -> str:
    """The two largest units that matter: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    for place, (unit, size) in enumerate(_UNITS):
        if whole < size and unit != "s":
            continue
        count, rest = divmod(whole, size)
        smaller, smaller_size = _UNITS[min(place + 1, len(_UNITS) - 1)]
        more = rest // smaller_size if unit in {"d", "h"} else 0
        return f"{count} {unit} {more} {smaller}" if more else f"{count} {unit}"
    return "0 s"
