"""Every tiny architecture: an adapter on each of its linear layers merges, from both layouts of stored keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.export.adapters import in_module_layout, load, write_adapter
from tests.tiny import KINDS, tiny_folder
from tunesmith.export.run import export
from tunesmith.infer.source import find_source


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_merged_equals_adapter(kind: str, tmp_path: Path) -> None:
    hub = tiny_folder(kind, tmp_path / "hub")
    model = load(hub)
    head = model.get_output_embeddings()
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    targets = [name for name, layer in layers.items() if layer is not head]
    has_conv1d = any(isinstance(layer, Conv1D) for layer in layers.values())
    adapter = write_adapter(hub, tmp_path / "adapter", target_modules=targets, fan_in_fan_out=has_conv1d)
    for base in (hub, in_module_layout(hub, tmp_path / "modules")):
        target = tmp_path / f"merged-{base.name}"
        settings = [f"model_name_or_path={base}", f"adapter_name_or_path={adapter}", f"export_dir={target}"]
        verdict = export(find_source(None, settings)).verdict
        assert verdict.matches is True, f"{base.name}: {verdict}"
        assert verdict.effect is not None and verdict.effect > 0.05
