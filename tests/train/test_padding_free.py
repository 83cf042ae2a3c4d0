"""How a run lays out its pairs is tried on the model and the rows themselves, and said where it costs something."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.batches import FLOAT64
from tests.train.preference_runs import preference_settings, write_preferences
from tests.train.runs import metrics_without_times, run
from tunesmith.config.read import load_settings_from
from tunesmith.data.batches.batch import Batch
from tunesmith.data.feed.grouping import GroupExamples, GroupPacks
from tunesmith.data.prepare import prepare_data
from tunesmith.models.folder import load_folder
from tunesmith.models.packing.proof import Packing
from tunesmith.models.preprocessing.processor import read_preprocessor
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.padding_free import find_packing
from tunesmith.train.pipelines import build_training_pipeline
from tunesmith.train.steps.forward import Forward

Warnings = Callable[[], list[str]]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.WARNING, logger="tunesmith")
    return lambda: [message for message in caplog.messages if "prompt" in message]


def laid(model: Path, folder: Path, *, stage: str = "dpo", **changes: Any) -> tuple[Packing | None, object, Batch]:
    """How the rows of a stage are packed, their grouper, and the first batch."""
    write_preferences(folder, stage=stage)
    settings = load_settings_from(
        preference_settings(model, folder, stage=stage, **{"encoding_cache": False, **changes}), verb="train"
    )
    data = prepare_data(settings, read_preprocessor(model, media=settings.media))
    loaded, _ = load_folder(model, device="cpu", dtype="float64")
    forward = Forward(loaded, SupervisedObjective(chunk_tokens=64), FLOAT64, torch.device("cpu"))
    packing = find_packing(forward, data, settings)
    pipeline = build_training_pipeline(data, settings, packing=packing, device=forward.device)
    batch = next(made.batch for made in pipeline.micro_batches(last_epoch=0) if made.batch is not None)
    return packing, pipeline.grouper, batch


def test_prompts_stand_once_and_packs_are_filled_with_trees(
    qwen2_folder: Path, tmp_path: Path, warnings: Warnings
) -> None:
    packing, grouper, batch = laid(qwen2_folder, tmp_path, packing=True, cutoff_len=150)
    assert packing == Packing(splits=True, axes=None, shares=True)
    assert isinstance(grouper, GroupPacks)
    assert all(len(answers) == 2 for answers in batch.branches)
    assert batch.num_tokens <= 2 * 150 < 10 * batch.lengths[0]
    assert warnings() == []


def test_share_prefix_false_gives_every_answer_its_own_prompt(
    qwen2_folder: Path, tmp_path: Path, warnings: Warnings
) -> None:
    packing, grouper, batch = laid(qwen2_folder, tmp_path, share_prefix=False)
    assert packing == Packing(splits=True, axes=None)
    assert grouper == GroupExamples(2)
    assert (len(batch.lengths), batch.branches) == (4, ())
    assert warnings() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"packing": True}, "packing: true is left out, because it fills packs with prompts that stand once"),
        ({"batch_tokens": 500}, "batch_tokens counts every prompt once, so a batch has up to twice as many tokens"),
    ],
)
def test_what_counts_prompts_once_is_said_where_they_stand_twice(
    changes: dict[str, Any], said: str, qwen2_folder: Path, tmp_path: Path, warnings: Warnings
) -> None:
    _, grouper, batch = laid(qwen2_folder, tmp_path, share_prefix=False, **changes)
    assert not isinstance(grouper, GroupPacks)
    assert batch.branches == () != batch.lengths
    assert warnings() == [f"warning: share_prefix: false. {said}"]


def test_attention_over_the_whole_sequence_shares_nothing_and_says_so_once(
    qwen2_folder: Path, tmp_path: Path, warnings: Warnings
) -> None:
    packing, _, batch = laid(qwen2_folder, tmp_path, torch_compile=True)
    assert packing == Packing(splits=False, axes=None)
    assert (len(batch.lengths), batch.branches) == (4, ())
    (said,) = warnings()
    assert "Qwen2ForCausalLM does not keep two answers behind one prompt apart (torch_compile: true " in said


def test_judged_answers_are_packed_with_their_own_prompts(
    qwen2_folder: Path, tmp_path: Path, warnings: Warnings
) -> None:
    packing, _, batch = laid(qwen2_folder, tmp_path, stage="kto", packing=True, cutoff_len=150)
    assert packing == Packing(splits=True, axes=None)
    assert batch.branches == () != batch.lengths
    assert batch.mismatched is not None and len(batch.mismatched.lengths) == len(batch.lengths)
    assert warnings() == []


def test_a_run_that_shares_prompts_is_the_run_that_does_not(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    write_preferences(tmp_path, stage="dpo", images=True)
    lines = []
    for name, changes in (("shared", {}), ("apart", {"share_prefix": False})):
        settings = preference_settings(qwen2_5_vl_folder, tmp_path, stage="dpo", num_train_epochs=1)
        run({**settings, **changes, "output_dir": str(tmp_path / name)})
        lines.append(metrics_without_times(tmp_path / name))
    shared, apart = lines
    assert len(shared) == len(apart) > 1
    for one, other in zip(shared, apart, strict=True):
        for key in ("loss", "grad_norm", "rewards/margins", "logps/chosen"):
            assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5), key
