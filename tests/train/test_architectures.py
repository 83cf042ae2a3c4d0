"""Every architecture there is a tiny model of: trained in full, its head proven, a checkpoint continued exactly."""

from __future__ import annotations

import shutil

import pytest

from tests.tiny import KINDS, VISION_KINDS, tiny_folder
from tests.train.runs import assert_same_run, run, run_settings, write_rows

WITHOUT_TEMPLATE = {"phi", "gpt2"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_without_code_of_its_own_and_resumes_bit_for_bit(kind, tmp_path, caplog):
    rows = write_rows(tmp_path, count=6, images=kind in VISION_KINDS)
    settings = run_settings(
        tiny_folder(kind, tmp_path / "model"),
        rows,
        tmp_path / "whole",
        finetuning_type="full",
        num_train_epochs=2,
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        cutoff_len=4096,
        template="chatml" if kind in WITHOUT_TEMPLATE else None,
    )
    result = run(settings)
    assert result.steps == 4
    assert result.metrics["loss"] < 6.2  # a random guess among some 600 tokens costs 6.4
    assert "the chunked loss is not used" not in caplog.text

    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step-4")
    run(settings, output_dir=str(tmp_path / "resumed"), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")
