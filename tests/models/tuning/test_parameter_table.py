from __future__ import annotations

from pathlib import Path

import torch

from tests.models.given import settings_for
from tunesmith.models.load import load_model
from tunesmith.models.tuning.apply import apply_tuning
from tunesmith.models.tuning.parameter_table import PartRow, format_table, parameter_table


def test_rows_of_a_lora_model(qwen2_5_vl_folder: Path) -> None:
    settings = settings_for(qwen2_5_vl_folder, training={"bf16": True}, tuning={"freeze_vision_tower": False})

    rows = parameter_table(apply_tuning(load_model(settings, trains=True), settings))

    assert rows == (
        PartRow("vision tower", 55_680, 0, 2 * 55_680, 0),
        PartRow("vision tower, adapter", 6_912, 6_912, 4 * 6_912, 4 * 6_912),
        PartRow("projector", 20_672, 0, 2 * 20_672, 0),
        PartRow("language model", 36_128, 0, 2 * 36_128, 0),
        PartRow("language model, adapter", 8_192, 8_192, 4 * 8_192, 4 * 8_192),
        PartRow("output head", 17_408, 0, 2 * 17_408, 0),
    )


def test_tied_weights_count_once(qwen2_folder: Path) -> None:
    model = load_model(settings_for(qwen2_folder), trains=True)

    assert sum(row.total for row in parameter_table(model)) == model.num_parameters() == 36_128


def test_as_text() -> None:
    rows = (PartRow("language model", 3_000_000, 0, 6_000_000, 0), PartRow("adapter", 1_000, 1_000, 4_000, 4_000))

    assert format_table(rows).splitlines() == [
        "part                 parameters        trainable    share     weights",
        "language model        3,000,000                0    0.00%     5.7 MiB",
        "adapter                   1,000            1,000  100.00%     3.9 KiB",
        "all                   3,001,000            1,000    0.03%     5.7 MiB",
        "gradients and AdamW's moments add 11.7 KiB",
    ]


def test_weights_that_zero3_holds_in_parts_count_whole(qwen2_folder: Path) -> None:
    model = load_model(settings_for(qwen2_folder), trains=True)
    whole = parameter_table(model)

    for parameter in model.parameters():
        vars(parameter)["ds_numel"] = parameter.numel()
        parameter.data = torch.empty(0, dtype=parameter.dtype)  # what ZeRO-3 leaves between two uses

    assert parameter_table(model) == whole
