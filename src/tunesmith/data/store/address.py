"""Where one row stands, small enough to keep for every row of an epoch and to send to any process.

Knows no files: what the two numbers of an address mean is the matter of each kind of file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Address = tuple[int, int]
"""Where a row stands in its file, enough to read it without any index:

JSON, JSONL, CSV, text   (byte offset, byte length)
Parquet                  (row group, row in it)
Arrow                    (record batch, row in it)
tar                      (offset of the first member's header, offset one past the last member)
"""


@dataclass(frozen=True, slots=True)
class RowRef:
    """One row of the opened datasets.

    dataset: number of the dataset in the run's list
    file:    number of the file in the dataset
    row:     number of the row in the file, from 0, as messages name it
    """

    dataset: int
    file: int
    row: int
    address: Address


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two rows of a dataset that is read from its beginning. Five whole numbers, so JSON holds it:
    `Cursor(**json.loads(json.dumps(dataclasses.asdict(cursor))))` is the cursor again.

    file:          number of the file the next row stands in; one past the last at the end
    row:           rows of that file before it; 0 is the beginning of the file, wherever its rows start
    first, second: the next row's address
    num_done:      rows of the dataset before it
    """

    file: int = 0
    row: int = 0
    first: int = 0
    second: int = 0
    num_done: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow one another in a dataset; `end` is the next block's `start`."""

    refs: Sequence[RowRef]
    start: Cursor
    end: Cursor
