"""What every section of the settings shares: frozen, strict about unknown keys, built when first needed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tunesmith.config.values import expand_home


class Section(BaseModel):
    """One section of the settings. Field docstrings are the help texts."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
    )


def split_commas(value: Any) -> Any:
    """`"a,b"` and `["a", "b"]` both mean two names; None, "" and "none" mean none."""
    value = none_from_word(value)
    if value is None:
        return ()
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    stripped = (name.strip() if isinstance(name, str) else name for name in names)
    return tuple(expand_home(name) if isinstance(name, str) else name for name in stripped if name != "")


def none_from_word(value: Any) -> Any:
    """`"none"` and `"null"` on a command line mean the same as null in YAML."""
    return None if isinstance(value, str) and value.strip().lower() in {"none", "null", ""} else value


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
"""Several names: comma-separated text or a list."""

Optional = BeforeValidator(none_from_word)
