"""A config in the form its config.json was published in, where transformers keeps some of it in another form.

Knows no family; each says which keys of transformers' class its own file does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def published_form(content: Mapping[str, Any], *, derived: frozenset[str]) -> dict[str, Any]:
    """What transformers would write into config.json, `content`, as code written for transformers 4 reads it.

    Rope settings are flat (`rope_theta`, `rope_scaling`), the number format has both its names, `derived` is left out.
    """
    published = {key: value for key, value in content.items() if key not in derived and key != "rope_parameters"}
    rope: dict[str, Any] = dict(content.get("rope_parameters") or {})
    published["rope_theta"] = rope.pop("rope_theta", None)
    if rope.get("rope_type") == "default":
        rope.clear()
    elif "type" in rope:
        rope.pop("rope_type", None)  # the file had the older key; the newer one was added on reading
    published["rope_scaling"] = rope or None
    if published.get("dtype") is not None:
        published["torch_dtype"] = published["dtype"]
    return published


def without_attention(config: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A config.json without its `attn_implementation`, and that: it is a hint for the published code, not a choice."""
    rest = deepcopy(dict(config))  # transformers writes into what it is given
    return rest, rest.pop("attn_implementation", None)
