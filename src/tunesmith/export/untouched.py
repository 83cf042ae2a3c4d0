"""Stored weights that the model has no place for: parts of the published model that nothing here builds.

MiniCPM-o's speech output is one. An export has them as the base does, so that it can do what the base can. Knows no
names: what transformers finds no parameter for is such a weight.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tunesmith import log
from tunesmith.export.keys import map_keys
from tunesmith.export.merge import build_skeleton
from tunesmith.export.shards import ShardWriter
from tunesmith.export.stored import read_keys, read_tensors
from tunesmith.models.files.weight_files import weight_files


def keep_untouched(home: Path, writer: ShardWriter, *, written: Collection[str]) -> None:
    """Add the weights of `home`'s files that no parameter takes to `writer`, those in `written` apart; say so once."""
    untouched = _without_parameter(home)
    if not untouched:
        return
    for file in weight_files(home):
        for key, weight in read_tensors(file):
            if key in untouched and key not in written:
                writer.add(key, weight)
    parts = sorted({f"{key.partition('.')[0]}.…" for key in untouched})
    log.info(f"{len(untouched)} weights that do not train ({', '.join(parts)}) stay as {home} has them")


def _without_parameter(home: Path) -> frozenset[str]:
    model = build_skeleton(home)
    keys = [key for file in weight_files(home) for key in read_keys(file)]
    names = map_keys(model, keys)
    has_place = model.state_dict().keys()
    return frozenset(key for key in keys if key in names.parameter_of and names.parameter_of[key] not in has_place)
