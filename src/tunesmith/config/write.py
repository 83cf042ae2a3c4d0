"""Settings as flat YAML: what `--dry-run` prints and run.yaml holds. Secrets are left out, always."""

from __future__ import annotations

from typing import Any

import yaml

from tunesmith.config.fields import FIELDS
from tunesmith.config.settings import Settings


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its flat key, in plain YAML types, without secrets; `load_settings_from` gives it back."""
    sections: dict[str, dict[str, Any]] = settings.model_dump(mode="python")
    return {key: _plain(sections[row.section][key]) for key, row in FIELDS.items() if row.kind != "secret"}


def render_yaml(settings: Settings) -> str:
    """`flatten` as a YAML document."""
    return yaml.safe_dump(flatten(settings), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
