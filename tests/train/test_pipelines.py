"""One pass over held-out rows by several processes, and what a filler is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.data.feed.pipelines import pictured_rows, spoil
from tests.data.numbered import write_rows
from tests.train.reference.prepared import prepare
from tunesmith.config.read import load_settings_from
from tunesmith.data.feed.order import ListedOrder
from tunesmith.data.feed.pipeline import FeedPosition, Pipeline
from tunesmith.data.feed.share import Share
from tunesmith.data.prepare import prepare_data
from tunesmith.data.report.report_builder import DatasetFacts, ReportBuilder
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import load_preprocessor
from tunesmith.train.account import RowAccount
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.pipelines import build_held_out_pipeline, held_out_batches

FACTS = [DatasetFacts("rows", "rows.jsonl", 7)]


def held_out(model: Path, folder: Path, *, share: Share | None = None, on_bad_row: str = "skip") -> Pipeline:
    """All but one of seven rows with pictures, two a batch."""
    rows = write_rows(folder / "rows.jsonl", pictured_rows(folder, 7))
    settings = load_settings_from(
        {
            "model_name_or_path": str(model),
            "dataset": str(rows),
            "val_size": 6,
            "output_dir": str(folder / "run"),
            "per_device_eval_batch_size": 2,
            "encoding_cache": False,
            "on_bad_row": on_bad_row,
        },
        verb="train",
    )
    data = prepare_data(settings, load_preprocessor(settings.model, settings.media))
    assert data.held_out is not None
    device = torch.device("cpu")
    return build_held_out_pipeline(data, data.held_out, settings, packing=None, device=device, share=share)


def test_every_process_gives_its_own_and_accounts_for_all(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    alone = held_out(qwen2_5_vl_folder, tmp_path)
    whole = [[source.row for source in batch.sources] for batch in held_out_batches(alone)]
    found = []
    for rank in (0, 1):
        pipeline = held_out(qwen2_5_vl_folder, tmp_path, share=Share(rank, 2))
        spoil(tmp_path / f"{whole[0][0]}.png")
        account = RowAccount(ReportBuilder(FACTS, cutoff_len=64), frozenset())
        batches = held_out_batches(pipeline, account, parallel=SingleProcess())
        found.append([[source.row for source in batch.sources] for batch in batches])
        eval_rows = account.builder.report().eval
        # the broken one is known to the first process alone, as nobody here tells the second
        assert eval_rows is not None and eval_rows.rows == 6 - (rank == 0)
    assert found == [[whole[0][1:], whole[2]], [whole[1]]]


def test_a_broken_row_is_an_error_behind_the_last_batch(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    pipeline = held_out(qwen2_5_vl_folder, tmp_path, on_bad_row="stop")
    order = next(pipeline.order.chunks(FeedPosition(), size=6)).refs
    spoil(tmp_path / f"{order[2].row}.png")
    batches = held_out_batches(pipeline)
    assert [source.row for source in next(batches).sources] == [ref.row for ref in order[:2]]
    with pytest.raises(DataError, match=rf"row {order[2].row}: "):
        next(batches)


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_a_filler_is_compared_with_nothing_that_was_computed(stage: str, qwen2_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(qwen2_folder, tmp_path, stage=stage, count=3)
    assert prepared.precompute()
    pipeline = build_held_out_pipeline(
        prepared.data,
        ListedOrder(tuple(prepared.refs)),
        prepared.settings.model_copy(
            update={"training": prepared.settings.training.model_copy(update={"per_device_eval_batch_size": 1})}
        ),
        packing=prepared.packing,
        device=torch.device("cpu"),
        values=prepared.values,
        share=Share(1, 2, lockstep=True),
    )
    real, filler = held_out_batches(pipeline)
    assert (real.is_filler, filler.is_filler) == (False, True)
    for batch in filter(None, (filler, filler.mismatched)):
        assert batch.answers is not None and batch.answers.reference is not None
        assert batch.answers.reference.tolist() == [0.0] * len(batch.answers.owner)
    assert real.answers is not None and real.answers.reference is not None and real.answers.reference.any()
    assert torch.isfinite(prepared.forward.loss(filler, means=torch.tensor([0.0, 0.5])).loss_sum)
