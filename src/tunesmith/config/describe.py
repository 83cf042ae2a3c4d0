"""The table of all fields (fields.json), made from the pydantic sections.

Only development runs this (`make keys`); a running Tunesmith reads the table.
"""

from __future__ import annotations

import json
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tunesmith.config.settings import Settings

_PLAIN_KINDS = {bool: "flag", int: "integer", float: "number", str: "text", SecretStr: "secret"}


def describe_fields() -> dict[str, dict[str, Any]]:
    """Flat key -> row of fields.json, only with what differs from Field's defaults."""
    rows: dict[str, dict[str, Any]] = {}
    for section, info in Settings.model_fields.items():
        assert info.annotation is not None
        for name, field in info.annotation.model_fields.items():
            assert name not in rows, f"two sections have {name}"
            rows[name] = {"section": section, **_describe(field)}
    return rows


def render_table() -> str:
    """fields.json, a field a line."""
    rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in describe_fields().items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _describe(field: FieldInfo) -> dict[str, Any]:
    types = _members(field.annotation)
    row: dict[str, Any] = {"kind": _kind(types)}
    default = field.get_default(call_default_factory=True)
    if default is not None:
        row["default"] = default
    if type(None) in types:
        row["nullable"] = True
    choices = [choice for member in types if get_origin(member) is Literal for choice in get_args(member)]
    if choices:
        row["choices"] = choices
    return row | _bounds(field)


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)


def _kind(types: tuple[Any, ...]) -> str:
    """A mapping is taken as it is. Text wins over the rest of a union: its validator turns words into what they mean. A
    flag may be words too."""
    present = [member for member in types if member is not type(None)]
    if bool in present and all(member is bool or get_origin(member) is Literal for member in present):
        return "flag"
    if any(get_origin(member) is dict for member in present):
        return "object"
    if str in present:
        return "text"
    if present == [tuple[str, ...]]:
        return "names"
    if get_origin(present[0]) is Literal:
        return "choice"
    return _PLAIN_KINDS.get(present[0], "object") if len(present) == 1 else "object"


def _bounds(field: FieldInfo) -> dict[str, Any]:
    names = {annotated_types.Gt: "above", annotated_types.Ge: "least", annotated_types.Lt: "below"}
    names[annotated_types.Le] = "most"
    attribute = {"above": "gt", "least": "ge", "below": "lt", "most": "le"}
    found = {}
    for constraint in field.metadata:
        name = names.get(type(constraint))
        if name:
            found[name] = getattr(constraint, attribute[name])
    return found


if __name__ == "__main__":
    from tunesmith.config.fields import TABLE

    TABLE.write_text(render_table(), encoding="utf-8")
