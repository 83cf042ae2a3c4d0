"""Where the records of CSV text end, found with numpy: line breaks with an even number of quotes before them.

That holds while every quote opens a field, closes one, or is doubled inside one. A quote inside a field that is not
quoted is a letter to the csv module, and the number says nothing any more: `find_records` then says so. Knows no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_QUOTE, _COMMA, _LINE_BREAK, _RETURN = (ord(letter) for letter in '",\n\r')


def find_records(text: bytes) -> Positions | None:
    """Positions of the line breaks that end records in `text`, which begins with one; None where quotes are letters."""
    content = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(content == _LINE_BREAK)
    quotes = np.flatnonzero(content == _QUOTE)
    ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    inside = quotes[: np.searchsorted(quotes, ends[-1])] if len(ends) else quotes[:0]
    return ends if _are_marks(content, inside) else None


def _are_marks(content: NDArray[np.uint8], quotes: Positions) -> bool:
    """Whether `quotes`, an even number, open and close fields in turn. Two side by side in a field do both."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = content[opening - 1]
    opens = (opening == 0) | np.isin(before, (_COMMA, _LINE_BREAK, _QUOTE))
    closes = np.isin(content[closing + 1], (_COMMA, _LINE_BREAK, _RETURN, _QUOTE))
    return bool(opens.all() and closes.all())
