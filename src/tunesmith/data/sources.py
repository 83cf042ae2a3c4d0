"""Rows of local files as plain objects with their numbers: JSON, JSONL, CSV, Parquet, Arrow, text, also gzipped.

Knows no formats: a row is whatever the file holds. A file that cannot be read raises DataError; a single broken line
becomes an Unreadable in its place, so that the caller may skip and count it.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunesmith.chat.message import RowSource
from tunesmith.data.json_rows import Unreadable, decode_lines, decode_list, describe_object
from tunesmith.errors import DataError

SourceRow = tuple[RowSource, Any]
"""Where a row stands and what stands there: a dict in a sound dataset, Unreadable for a broken line."""

_KIND_OF = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
}


_NUM_HEAD_CHARS = 65536


def iterate_rows(path: Path) -> Iterator[SourceRow]:
    """Every row of the file `path`, or of all files of a folder in the order of their names. Raises DataError."""
    for file in list_files(path):
        yield from _READERS[_kind(file)](file)


def list_files(path: Path) -> list[Path]:
    """The data files at `path`: itself, or a folder's files of one kind. Raises DataError."""
    if path.is_file():
        if _kind(path) == "":
            raise DataError(f"{path}: files ending in {path.suffix or 'nothing'} are not read; expected {_endings()}")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist")
    files = sorted(file for file in path.iterdir() if file.is_file() and _kind(file) and not file.name.startswith("."))
    if (path / "state.json").is_file():  # datasets.save_to_disk: the rows are in the Arrow files
        files = [file for file in files if file.suffix == ".arrow"]
    kinds = sorted({_kind(file) for file in files})
    if not files:
        raise DataError(f"the folder {path} holds no data files; expected {_endings()}")
    if len(kinds) > 1:
        raise DataError(f"the folder {path} mixes {' and '.join(kinds)} files; keep one kind, or name one file")
    return files


def is_data_path(path: Path) -> bool:
    """Whether `path` could be a dataset: a folder, or a file of a kind that is read."""
    return path.is_dir() or (path.is_file() and _kind(path) != "")


def iterate_tables(batches: Iterable[Any], name: str) -> Iterator[SourceRow]:
    """Rows of pyarrow record batches or tables.

    Nulls inside a row are left out: Arrow gives every object the keys of all others, filled with null.
    """
    row = 0
    for batch in batches:
        for value in batch.to_pylist():
            yield RowSource(name, row), _without_nulls(value)
            row += 1


def _kind(file: Path) -> str:
    name = file.name.lower().removesuffix(".gz")
    return _KIND_OF.get(Path(name).suffix, "")


def _endings() -> str:
    return ", ".join(_KIND_OF)


def _read_json(file: Path) -> Iterator[SourceRow]:
    with _open_text(file) as lines:
        head = lines.read(_NUM_HEAD_CHARS)
        if head.lstrip().startswith("{"):
            yield from _number(file, _read_objects(lines, file))
        elif head.lstrip().startswith("["):
            yield from _number(file, decode_list(head + lines.read(), str(file)))
        else:
            found = f"begins with {head.strip()[:20]!r}" if head.strip() else "is empty"
            raise DataError(f"{file} {found}; expected JSON rows")


def _read_objects(lines: IO[str], file: Path) -> Iterator[Any]:
    """The rows of a file that begins with an object: one a line, or a mistake."""
    lines.seek(0)
    first = next(line for line in lines if line.strip()).strip()
    is_lines = _is_lines(file, first, has_more=any(line.strip() for line in lines))
    lines.seek(0)
    if not is_lines:
        raise describe_object(lines.read(), str(file))
    yield from (value for _, value in decode_lines(lines))


def _is_lines(file: Path, first: str, *, has_more: bool) -> bool:
    """Whether rows stand one a line: as the ending says, or, in a .json file, as two or more lines show."""
    if file.name.lower().removesuffix(".gz").endswith(".jsonl"):
        return first != "{"
    return has_more and first.endswith("}")


def _read_csv(file: Path) -> Iterator[SourceRow]:
    csv.field_size_limit(2**31 - 1)  # the default refuses answers above 128 KiB
    with _open_text(file) as lines:
        reader = csv.DictReader(lines)
        yield from _number(file, (_check_width(row, reader) for row in reader))


def _check_width(row: dict[str | Any, Any], reader: csv.DictReader[str]) -> dict[str | Any, Any] | Unreadable:
    width = len(reader.fieldnames or ())
    if None in row:
        return Unreadable(f"line {reader.line_num}: {width + len(row[None])} fields, the header has {width}")
    if None in row.values():
        num_fields = sum(value is not None for value in row.values())
        return Unreadable(f"line {reader.line_num}: {num_fields} fields, the header has {width}")
    return row


def _read_text(file: Path) -> Iterator[SourceRow]:
    with _open_text(file) as lines:
        yield from _number(file, ({"text": line.rstrip("\r\n")} for line in lines))


def _read_parquet(file: Path) -> Iterator[SourceRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from iterate_tables(pq.ParquetFile(file).iter_batches(batch_size=256), str(file))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a sound Parquet file ({error})") from None


def _read_arrow(file: Path) -> Iterator[SourceRow]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as mapped:
            try:
                reader = pa.ipc.open_stream(mapped)  # what the datasets library writes
            except pa.ArrowInvalid:
                mapped.seek(0)
                opened = pa.ipc.open_file(mapped)
                reader = (opened.get_batch(index) for index in range(opened.num_record_batches))
            yield from iterate_tables(reader, str(file))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a sound Arrow file ({error})") from None


@contextmanager
def _open_text(file: Path) -> Iterator[IO[str]]:
    """The file as UTF-8 text, with or without a byte order mark, unpacked if its name ends in .gz."""
    open_bytes = gzip.open if file.suffix.lower() == ".gz" else Path.open
    try:
        with open_bytes(file, "rb") as packed, io.TextIOWrapper(packed, encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error})") from None


def _number(file: Path, values: Iterable[Any]) -> Iterator[SourceRow]:
    for row, value in enumerate(values):
        yield RowSource(str(file), row), value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


_READERS: dict[str, Callable[[Path], Iterator[SourceRow]]] = {
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "text": _read_text,
}
