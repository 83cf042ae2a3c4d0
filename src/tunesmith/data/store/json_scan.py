"""Where the elements of a JSON list lie, found with numpy a stretch at a time: nothing is decoded.

Every quote, bracket and comma of the stretch is picked out; quotes with an odd number of backslashes before them are
none; the parity of the others says what stands inside a string; brackets outside of strings give the depth. The commas
at depth 1 part the elements. Knows no files; whether an element is sound shows when it is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]

_QUOTE, _BACKSLASH, _COMMA = ord('"'), ord("\\"), ord(",")
_OPEN, _CLOSE = ord("{"), ord("}")
_CASE = np.uint8(0x20)
"""The bit in which [ differs from {, and ] from }."""


@dataclass(frozen=True, slots=True)
class ScanState:
    """What a stretch leaves for the next. An element's first byte is at depth 1."""

    in_string: bool = False
    depth: int = 1
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class Scanned:
    """`commas`: positions of those between elements; `end`: position of the bracket that closes the list, if met."""

    commas: Positions
    end: int | None
    state: ScanState


def scan(stretch: Bytes, state: ScanState) -> Scanned:
    """The element boundaries in `stretch`, bytes of a JSON list that follow those which left `state`."""
    marks, kinds = _pick_marks(stretch, state)
    is_quote = kinds == _QUOTE
    inside = np.logical_xor.accumulate(is_quote) ^ state.in_string if len(marks) else is_quote
    steps = ((kinds | _CASE) == _OPEN).astype(np.int64) - ((kinds | _CASE) == _CLOSE)
    steps[inside] = 0
    depths = np.cumsum(steps) + state.depth
    ends = np.flatnonzero(depths <= 0)
    num_used = int(ends[0]) if len(ends) else len(marks)
    is_comma = (kinds == _COMMA) & (depths == 1) & ~inside
    return Scanned(
        commas=marks[:num_used][is_comma[:num_used]],
        end=int(marks[num_used]) if len(ends) else None,
        state=ScanState(
            in_string=bool(inside[-1]) if len(marks) else state.in_string,
            depth=int(depths[-1]) if len(marks) else state.depth,
            escaped=_ends_escaped(stretch, state),
        ),
    )


def _pick_marks(stretch: Bytes, state: ScanState) -> tuple[Positions, Bytes]:
    """Positions and values of all brackets, commas and quotes but escaped quotes."""
    cased = stretch | _CASE
    is_mark = stretch == _QUOTE
    is_mark |= stretch == _COMMA
    is_mark |= cased == _OPEN
    is_mark |= cased == _CLOSE
    marks = np.flatnonzero(is_mark)
    kinds = stretch[marks]
    before = stretch[marks - 1]
    suspects = np.flatnonzero((kinds == _QUOTE) & ((before == _BACKSLASH) | (marks == 0)))
    escaped = suspects[_are_escaped(stretch, marks[suspects], state)]
    return (np.delete(marks, escaped), np.delete(kinds, escaped)) if len(escaped) else (marks, kinds)


def _are_escaped(stretch: Bytes, quotes: Positions, state: ScanState) -> NDArray[np.bool_]:
    """Which of `quotes` have an odd number of backslashes before them, those of the stretch before counted in."""
    odd = np.zeros(len(quotes), np.bool_)
    waiting = np.arange(len(quotes))
    positions = quotes - 1
    while len(waiting):
        at_start = positions < 0
        odd[waiting[at_start]] ^= state.escaped
        goes_on = ~at_start & (stretch[positions] == _BACKSLASH)
        waiting, positions = waiting[goes_on], positions[goes_on] - 1
        odd[waiting] ^= True
    return odd


def _ends_escaped(stretch: Bytes, state: ScanState) -> bool:
    """Whether an odd number of backslashes ends the stretch."""
    end = np.array([len(stretch)])
    return bool(_are_escaped(stretch, end, state)[0])
