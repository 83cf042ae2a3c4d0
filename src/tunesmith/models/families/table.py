"""Which families there are. A row is a model type and the module with its `FAMILY`, imported when a folder needs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from tunesmith.models.families.family import Family

_FAMILIES: Mapping[str, str] = {
    "internlm2": "tunesmith.models.families.internlm2.family",
    "minicpm": "tunesmith.models.families.minicpm.family",
    "minicpmv": "tunesmith.models.families.minicpmv.family",
    "minicpmo": "tunesmith.models.families.minicpmv.omni_family",
}


@cache
def find_family(model_type: object) -> Family | None:
    """The family of a config.json's `model_type`, made known to transformers; None for models that it has itself."""
    if model_type not in _FAMILIES:
        return None
    family: Family = import_module(_FAMILIES[str(model_type)]).FAMILY
    family.register()
    return family
