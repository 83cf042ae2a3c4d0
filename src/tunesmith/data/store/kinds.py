"""Which files are data, by their names, and the right RowFile for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunesmith.data.store.arrow_rows import ArrowRows
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.csv_records import CsvRecords
from tunesmith.data.store.json_faults import find_object_fault
from tunesmith.data.store.json_lines import JsonLines, is_lines
from tunesmith.data.store.json_list import JsonList
from tunesmith.data.store.parquet_rows import ParquetRows
from tunesmith.data.store.row_file import RowFile
from tunesmith.data.store.tar_rows import TarRows
from tunesmith.data.store.text_lines import TextLines
from tunesmith.data.store.unpacked import unpack
from tunesmith.errors import DataError

_KIND_OF = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".tar": "tar",
}
_GZIPPED_KINDS = ("json", "csv", "text")
_NUM_SHOWN_BYTES = 20

ENDINGS = ", ".join(_KIND_OF)
"""The endings that are read, for messages."""


def kind_of(name: str) -> str:
    """The kind of the data file called `name`; "" for one that is not read."""
    lower = name.lower()
    kind = _KIND_OF.get(Path(lower.removesuffix(".gz")).suffix, "")
    return "" if lower.endswith(".gz") and kind not in _GZIPPED_KINDS else kind


def open_row_file(path: Path, *, name: str | None = None) -> RowFile:
    """The rows of the file at `path`, which is called `name` where the path does not say its kind (hub caches).

    Raises DataError for a file that cannot be read, or is not what its name says.
    """
    called = name or path.name
    kind = kind_of(called)
    if kind == "parquet":
        return ParquetRows(path)
    if kind == "arrow":
        return ArrowRows(path)
    if kind == "":
        raise DataError(f"{path}: files ending in {path.suffix or 'nothing'} are not read; expected {ENDINGS}")
    content = unpack(path) if called.lower().endswith(".gz") else path
    return _OPENERS[kind](ByteFile(content, named=path), called)


def _open_json(file: ByteFile, called: str) -> RowFile:
    start = file.first_byte(file.text_start())
    if start is None:
        raise DataError(f"{file.path} is empty; expected JSON rows")
    first = file.read(start, 1)
    if first == b"[":
        return JsonList(file, start)
    if first != b"{":
        shown = file.read(start, _NUM_SHOWN_BYTES).decode(errors="replace").strip()
        raise DataError(f"{file.path} begins with {shown!r}; expected JSON rows")
    named_lines = called.lower().removesuffix(".gz").endswith(".jsonl")
    if not is_lines(file, start, named_lines=named_lines):
        raise find_object_fault(file, start)
    return JsonLines(file, file.text_start())


_OPENERS: dict[str, Callable[[ByteFile, str], RowFile]] = {
    "json": _open_json,
    "csv": lambda file, _: CsvRecords(file),
    "text": lambda file, _: TextLines(file),
    "tar": lambda file, _: TarRows(file),
}
