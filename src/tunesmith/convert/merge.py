"""`tunesmith convert merge`: XTuner's word for `tunesmith export`, and the merge of a CLIP tower's adapter."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tunesmith.compose.vision_tower import load_vision_tower
from tunesmith.config.model import ModelSettings
from tunesmith.convert.output import check_output
from tunesmith.convert.request import MergeRequest
from tunesmith.convert.tower import merge_tower_adapter
from tunesmith.export.run import export
from tunesmith.export.stored import stored_format
from tunesmith.export.target import whole_folder
from tunesmith.infer.source import find_source
from tunesmith.models.adapters.attach import find_adapter
from tunesmith.models.files.locate import locate
from tunesmith.models.quiet import quiet_transformers


def merge(request: MergeRequest) -> str:
    """Merge, and say what was written."""
    return _merge_clip(request) if request.is_clip else _merge_language_model(request)


def _merge_language_model(request: MergeRequest) -> str:
    """What `tunesmith export` does, verified by it; what it says. Raises what it raises."""
    settings = [
        f"model_name_or_path={request.model}",
        f"adapter_name_or_path={request.adapter}",
        f"export_dir={request.output}",
        f"export_size={request.shard_gb}",
        f"export_device={'cpu' if request.on_cpu else 'auto'}",
    ]
    return export(find_source(None, settings)).describe()


def _merge_clip(request: MergeRequest) -> str:
    """A CLIP tower with its adapter merged, in its own number format, and its picture settings beside it."""
    check_output(request.output)
    base = locate(request.model, ModelSettings())
    tower = load_vision_tower(base, dtype=stored_format(base))
    with tempfile.TemporaryDirectory() as scratch:
        merged = merge_tower_adapter(tower, find_adapter(request.adapter, ModelSettings()), scratch=Path(scratch))
    with whole_folder(request.output) as folder, quiet_transformers():
        merged.model.save_pretrained(folder)
        merged.image_processor.save_pretrained(folder)
    return f"wrote {request.output}: the vision tower of {base} with its adapter merged"
