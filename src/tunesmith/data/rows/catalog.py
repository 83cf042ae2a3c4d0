"""dataset_info.json, and which dataset each name of `dataset` means: an entry of it, or a path.

Read as LLaMA-Factory reads it, with one difference: a key that `columns` or `tags` leaves out keeps its documented
default (LLaMA-Factory drops it, and with it every row that has, say, a system message).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith import env
from tunesmith.config.data import DataSettings
from tunesmith.data.formats.values import shorten
from tunesmith.data.rows.entry import DatasetEntry, read_entry
from tunesmith.data.rows.hub import HubPlace
from tunesmith.data.rows.sources import exists, expand_range
from tunesmith.data.store.json_faults import BEYOND_PYTHON, explain_beyond
from tunesmith.errors import UsageError

CATALOG_NAME = "dataset_info.json"


@dataclass(frozen=True, slots=True)
class Catalog:
    """The entries of one dataset_info.json as they stand there; none where the file does not exist."""

    file: Path
    entries: Mapping[str, Any]
    exists: bool


def load_catalog(dataset_dir: str) -> Catalog:
    """dataset_info.json in `dataset_dir`, which is relative to the working directory.

    Raises UsageError with line and column for a broken file. A missing file is no error yet: paths need none.
    """
    file = Path(dataset_dir) / CATALOG_NAME
    if not file.is_file():
        return Catalog(file, {}, exists=False)
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}, line {error.lineno}, column {error.colno}: not JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read ({error})") from None
    except BEYOND_PYTHON as error:
        raise UsageError(f"{file}: {explain_beyond(error)}") from None
    if not isinstance(entries, dict):
        raise UsageError(f"{file} holds a {type(entries).__name__}; expected an object with one entry a dataset")
    return Catalog(file, entries, exists=True)


def find_datasets(names: Iterable[str], data: DataSettings) -> list[DatasetEntry]:
    """What each of `names` stands for: an entry of dataset_info.json, a file, a folder, or shards (`a-{00..12}.tar`).

    With `dataset_dir: ONLINE` the names are hub repositories. Raises UsageError for a name that is nothing of these.
    """
    if data.dataset_dir == "ONLINE":
        return [_online(name, data) for name in names]
    if data.dataset_dir.startswith("REMOTE:"):
        raise UsageError(
            f"dataset_dir: {data.dataset_dir} is not supported; download its {CATALOG_NAME} into a folder and set "
            "dataset_dir to that folder"
        )
    catalog = load_catalog(data.dataset_dir)
    return [_find(name, catalog, data) for name in names]


def _find(name: str, catalog: Catalog, data: DataSettings) -> DatasetEntry:
    if name in catalog.entries:
        return read_entry(name, catalog.entries[name], file=catalog.file, data=data)
    for path in (Path(name), Path(data.dataset_dir) / name):
        if exists(path) or expand_range(path):
            folder = path if path.is_dir() else path.parent
            return DatasetEntry(name, path, media_folder=Path(data.media_dir) if data.media_dir else folder)
    raise UsageError(_not_found(name, catalog))


def _online(name: str, data: DataSettings) -> DatasetEntry:
    hub = HubPlace("modelscope" if env.use_modelscope_hub() else "huggingface", name)
    return DatasetEntry(name, hub, media_folder=Path(data.media_dir) if data.media_dir else None)


def _not_found(name: str, catalog: Catalog) -> str:
    shown = shorten(name, limit=200)
    if not catalog.exists:
        return (
            f"dataset {shown}: no file of this name, and no {catalog.file} to look it up in (dataset_dir is "
            f"{catalog.file.parent.absolute()}, the working directory {Path.cwd()}). Start from the folder that "
            f"dataset_dir is relative to, set dataset_dir, or give the path of a data file"
        )
    return (
        f"dataset {shown} is not in {catalog.file}, and is not a file{_nearest(name, catalog.entries)}. "
        f"Name one of its {len(catalog.entries)} datasets, add an entry, or give the path of a data file "
        f"(relative to {Path.cwd()})"
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
