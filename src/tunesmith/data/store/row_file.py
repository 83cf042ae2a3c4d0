"""What every kind of data file can do: find its rows in order, and read one by its address.

Knows no kind in particular; `open.py` chooses one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.store.address import Address

Addresses = NDArray[np.int64]
"""(rows, 2): one address a row."""


class RowFile(Protocol):
    """One data file. Opens nothing before it is asked for a row; safe after a fork and between threads."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of rows in order, from the row at `start` (None: the first), as they are found.

        Raises DataError where the file is broken.
        """

    def counts(self) -> Sequence[int] | None:
        """Rows of each row group or record batch, where the file says it without being read; else None."""

    def read(self, address: Address) -> Any:
        """The row at `address`: a dict in a sound file, Unreadable where it cannot be read."""

    def raw(self, address: Address) -> bytes:
        """The row's content: equal bytes for equal rows, whatever stands around them."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a row should be: why it cannot be read."""

    reason: str
