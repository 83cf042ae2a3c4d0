"""One entry of dataset_info.json: where its rows are, and how to read them.

"name": {"file_name": …, "formatting": …, "columns": {…}, "tags": {…}, "subset", "split", "folder", "num_samples"}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tunesmith import env, log
from tunesmith.chat.message import MediaKind
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.formats.layout import FORMAT_NAMES, OPENAI_TAGS, Columns, Layout, Tags
from tunesmith.data.formats.values import describe, shorten
from tunesmith.data.rows.hub import HubPlace
from tunesmith.data.rows.sources import exists, expand_range
from tunesmith.errors import UsageError

_MEDIA_COLUMNS: dict[str, MediaKind] = {"images": "image", "videos": "video", "audios": "audio"}
_COLUMN_KEYS = tuple(field.name for field in fields(Columns))
_TAG_KEYS = tuple(field.name for field in fields(Tags))
_MOST_PATH_CHARS = 300
_PLACES = ("file_name", "hf_hub_url", "ms_hub_url")
_REFUSED_PLACES = ("om_hub_url", "script_url", "cloud_file_name")
_ENTRY_KEYS = (
    *_PLACES,
    *_REFUSED_PLACES,
    *("formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags"),
)


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset the user named.

    layout:  how to read its rows; None for one to be recognised from its first rows
    holds:   what dataset_info.json says its rows hold, by `ranking`, `chosen`, `rejected` or `kto_tag`; else None
    implied: keys that `columns` or `tags` leaves out and whose documented defaults are used
    """

    name: str
    place: Path | HubPlace
    layout: Layout | None = None
    holds: RowKind | None = None
    media_folder: Path | None = None
    num_samples: int | None = None
    implied: tuple[str, ...] = ()


def read_entry(name: str, entry: object, *, file: Path, data: DataSettings) -> DatasetEntry:
    """The entry `name` of the catalog `file`. Raises UsageError."""
    where = f"{file}, dataset {name!r}"
    values = _read_object(entry, where)
    _warn_unknown(values, _ENTRY_KEYS, where)
    columns, tags = (_read_object(values.get(key) or {}, f"{where}, {key}") for key in ("columns", "tags"))
    _warn_unknown(columns, _COLUMN_KEYS, f"{where}, columns")
    _warn_unknown(tags, _TAG_KEYS, f"{where}, tags")
    place = _read_place(values, where, data)
    folder = Path(data.media_dir) if data.media_dir else (file.parent if isinstance(place, Path) else None)
    return DatasetEntry(
        name,
        place,
        layout=_read_layout(values, columns, tags, where=where, media_folder=folder),
        holds=_read_kind(values, columns),
        media_folder=folder,
        num_samples=_read_num_samples(values, where),
        implied=_implied(columns, tags),
    )


def _read_object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is {describe(value)}; expected an object")
    return value


def _warn_unknown(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            log.warning(
                f"{where}: the key {shorten(key)} is not known{f'; did you mean {nearest[0]}?' if nearest else ''}"
            )


def _read_kind(values: Mapping[str, Any], columns: Mapping[str, Any]) -> RowKind | None:
    if values.get("ranking") or columns.get("chosen") or columns.get("rejected"):
        return "pairs"
    return "verdicts" if columns.get("kto_tag") else None


def _read_place(values: Mapping[str, Any], where: str, data: DataSettings) -> Path | HubPlace:
    on_hub = "hf_hub_url" in values or "ms_hub_url" in values
    if on_hub:
        _require_text(values, ("hf_hub_url", "ms_hub_url", "subset", "split", "folder"), where)
        modelscope = "ms_hub_url" in values and (env.use_modelscope_hub() or "hf_hub_url" not in values)
        return HubPlace(
            "modelscope" if modelscope else "huggingface",
            values["ms_hub_url" if modelscope else "hf_hub_url"],
            subset=values.get("subset"),
            split=values.get("split") or "train",
            folder=values.get("folder"),
        )
    refused = next((key for key in _REFUSED_PLACES if key in values), None)
    if refused:
        shown = str(values[refused])[:_MOST_PATH_CHARS]
        raise UsageError(
            f"{where} has its rows at {refused}: {shown}, which is not supported; download them and set "
            "file_name, or use hf_hub_url or ms_hub_url"
        )
    if not isinstance(values.get("file_name"), str):
        raise UsageError(f"{where} says nowhere where its rows are; expected file_name, hf_hub_url or ms_hub_url")
    path = Path(data.dataset_dir, values["file_name"])
    if not exists(path) and not expand_range(path):
        shown = str(path)[:_MOST_PATH_CHARS]
        raise UsageError(f"{where}: {shown} does not exist (working directory {Path.cwd()}); correct file_name")
    return path


def _require_text(values: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        if values.get(key) is not None and not isinstance(values[key], str):
            raise UsageError(f"{where}: {key} is {describe(values[key])}; expected text")


def _read_layout(
    values: Mapping[str, Any],
    columns: Mapping[str, Any],
    tags: Mapping[str, Any],
    *,
    where: str,
    media_folder: Path | None,
) -> Layout:
    formatting = values.get("formatting") or "alpaca"
    if formatting not in FORMAT_NAMES:
        raise UsageError(
            f"{where} has formatting {shorten(str(formatting))}; expected one of {', '.join(FORMAT_NAMES)}"
        )
    default_tags = OPENAI_TAGS if formatting == "openai" else Tags()
    return Layout(
        formatting,
        _read_columns(columns, where, is_ranking=bool(values.get("ranking"))),
        replace(default_tags, **{key: str(tags[key]) for key in _TAG_KEYS if tags.get(key) is not None}),
        expects_media=frozenset(kind for key, kind in _MEDIA_COLUMNS.items() if columns.get(key)),
        media_folder=media_folder,
    )


def _read_columns(columns: Mapping[str, Any], where: str, *, is_ranking: bool) -> Columns:
    """The named columns; others keep their defaults, except where another key has named that very column.

    A ranking's answers that are not named stand in `chosen` and `rejected`.
    """
    for key, name in columns.items():
        if name is not None and not isinstance(name, str):
            raise UsageError(f"{where}, columns: {key} is {describe(name)}; expected the name of a column")
    named = {key: columns[key] for key in _COLUMN_KEYS if key in columns}
    defaults = Columns(chosen="chosen", rejected="rejected") if is_ranking else Columns()
    taken = {
        key: None
        for key, default in asdict(defaults).items()
        if key not in named and default is not None and default in named.values()
    }
    return replace(defaults, **named, **taken)


def _implied(columns: Mapping[str, Any], tags: Mapping[str, Any]) -> tuple[str, ...]:
    implied = [key for key in ("prompt", "query", "response", "messages") if columns and key not in columns]
    return tuple(implied + [key for key in _TAG_KEYS if tags and key not in tags])


def _read_num_samples(values: Mapping[str, Any], where: str) -> int | None:
    num_samples = values.get("num_samples")
    if num_samples is not None and (type(num_samples) is not int or num_samples < 1):
        raise UsageError(f"{where} has num_samples {shorten(str(num_samples))}; expected a whole number above 0")
    return num_samples
