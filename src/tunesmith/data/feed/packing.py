"""Best-fit-decreasing bin packing: whole examples into packs of a capacity in tokens.

The packs of a window hold at most 11/9 of the least possible number (D. S. Johnson, "Near-optimal bin packing
algorithms", MIT 1973), and nearly always the least. Pure functions of lengths.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence


def pack_best_fit(lengths: Sequence[int], *, capacity: int) -> list[list[int]]:
    """Indices of `lengths` in packs whose sums do not exceed `capacity`; a longer example stands alone.

    Longest first, each into the fullest pack that has room; among equals the earlier example and the older pack. Inside
    a pack the examples keep their order, and packs come in the order of their first example.
    """
    packs: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, pack), sorted
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        place = bisect_left(rooms, (lengths[index], -1))
        if place < len(rooms):
            room, pack = rooms.pop(place)
        else:
            room, pack = capacity, len(packs)
            packs.append([])
        packs[pack].append(index)
        if room > lengths[index]:
            insort(rooms, (room - lengths[index], pack))
    return sorted(sorted(pack) for pack in packs)
