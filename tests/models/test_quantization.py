from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.models.load import load_model
from tunesmith.models.parts import Part
from tunesmith.models.quantization import is_packed, quantization_config
from tunesmith.models.tuning.apply import apply_tuning
from tunesmith.models.tuning.parameter_table import parameter_table

pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("training", [{}, {"bf16": True}], ids=["float32", "bf16"])
def test_an_evaluation_between_steps_does_not_change_training(
    qwen2_5_vl_folder: Path, bits: int, training: dict[str, bool]
) -> None:
    batch = batch_for(qwen2_5_vl_folder, with_image=True)
    settings = settings_for(qwen2_5_vl_folder, quantization_bit=bits, training=training)

    def losses(*, evaluates: bool) -> list[float]:
        torch.manual_seed(0)
        model = apply_tuning(load_model(settings, trains=True), settings)
        found = []
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16, enabled=bool(training)):
                if evaluates:
                    logits_of(model, batch)
                found.append(train_a_step(model.train(), batch, learning_rate=1.0))
        return found

    plain, interrupted = losses(evaluates=False), losses(evaluates=True)

    assert interrupted == plain
    assert plain[2] < plain[0]


@pytest.mark.parametrize(("bits", "tolerance"), [(4, 0.4), (8, 0.05)])
def test_it_stays_close_to_the_model_it_packs(qwen2_folder: Path, bits: int, tolerance: float) -> None:
    batch = batch_for(qwen2_folder)
    whole = logits_of(load_model(settings_for(qwen2_folder), trains=True), batch)

    packed = logits_of(load_model(settings_for(qwen2_folder, quantization_bit=bits), trains=True), batch)

    assert 0 < (packed - whole).norm() / whole.norm() < tolerance


def test_only_linear_layers_are_packed_and_the_table_counts_their_weights(qwen2_folder: Path) -> None:
    settings = settings_for(qwen2_folder, quantization_bit=4)
    model = apply_tuning(load_model(settings, trains=True), settings)

    packed = {name for name, parameter in model.named_parameters() if is_packed(parameter)}
    whole = parameter_table(load_model(settings_for(qwen2_folder), trains=True))[0]
    row = next(row for row in parameter_table(model) if row.part == Part.LANGUAGE_MODEL)

    assert len(packed) == 14 and all("_proj." in name for name in packed)
    assert row.total == whole.total
    assert row.weight_bytes < whole.weight_bytes


def test_only_adapters_train_on_packed_weights(qwen2_folder: Path) -> None:
    settings = settings_for(qwen2_folder, quantization_bit=4, tuning={"finetuning_type": "full"})

    with pytest.raises(UsageError, match="cannot train quantised weights"):
        apply_tuning(load_model(settings, trains=True), settings)


def test_other_methods_are_not_there_yet() -> None:
    with pytest.raises(NotSupportedYetError, match="hqq"):
        quantization_config(
            settings_for("any", quantization_bit=4, quantization_method="hqq").model, compute=torch.float32
        )
