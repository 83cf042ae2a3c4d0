"""`python -m tunesmith.config.reference docs`: docs/settings.md, the sections and known_keys.yaml in print.

Only development runs this (`make keys`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic.fields import FieldInfo

from tunesmith.config.fields import FIELDS
from tunesmith.config.known import Alias, Unbuilt, load_known_keys
from tunesmith.config.settings import Settings

PAGE = "settings.md"
_HEAD = """# Settings

Written by `make keys` from `src/tunesmith/config/`; edit the sections there. Keys are flat and carry LLaMA-Factory's
names. They stand in a YAML or JSON file, or on the command line as `key=value` or `--key value`, which wins.
"""


def render_reference() -> str:
    """docs/settings.md."""
    known = load_known_keys()
    parts = [_HEAD]
    for section, info in Settings.model_fields.items():
        assert info.annotation is not None
        title = (info.annotation.__doc__ or "").strip().splitlines()[0]
        parts.append(
            _table(f"{section}: {title}", ("key", "default", "value", ""), _fields(info.annotation.model_fields))
        )
    parts.append(_table("Other names", ("key", "means", ""), _aliases(known.aliases)))
    parts.append(_table("Accepted, and what happens instead", ("key", ""), sorted(known.noted.items())))
    parts.append(_table("Not supported yet", ("key", "passes", "instead"), _unbuilt({**known.later, **known.limited})))
    return "\n".join(parts)


def _fields(fields: Mapping[str, FieldInfo]) -> Iterator[tuple[str, ...]]:
    for key, info in fields.items():
        row = FIELDS[key]
        default = "" if row.default in (None, [], {}) else _in_print(row.default)
        yield key, default, row.expected, info.description or ""


def _aliases(aliases: Mapping[str, Alias]) -> Iterator[tuple[str, ...]]:
    for key, alias in aliases.items():
        values = [f"{_in_print(given)}: {_in_print(meant)}" for given, meant in (alias.values or {}).items()]
        yield key, alias.key, ", ".join(values)


def _unbuilt(rows: Mapping[str, Unbuilt]) -> Iterator[tuple[str, ...]]:
    for key, row in sorted(rows.items()):
        yield key, ", ".join(_in_print(value) for value in row.allowed), row.instead


def _in_print(value: object) -> str:
    """A value as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{row[0]}`", *row[1:])) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) / PAGE).write_text(render_reference(), encoding="utf-8")
