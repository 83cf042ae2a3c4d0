"""What every section of the settings shares: frozen, strict about unknown keys, built when first needed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """One section of the settings. Field docstrings are the help texts."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True, protected_namespaces=()
    )


def split_commas(value: Any) -> Any:
    """`"a,b"` and `["a", "b"]` both mean two names; None and "" mean none."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def none_from_word(value: Any) -> Any:
    """`"none"` and `"null"` on a command line mean the same as null in YAML."""
    return None if isinstance(value, str) and value.strip().lower() in {"none", "null", ""} else value


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
"""Several names: comma-separated text or a list."""

Optional = BeforeValidator(none_from_word)
