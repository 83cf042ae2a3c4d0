"""Rows, a model in float64 and what it takes to compute values of one for the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from tests.tiny.kinds import save_random_model
from tests.train.batches import FLOAT64
from tests.train.preference_runs import preference_settings, write_preferences
from tunesmith.config.read import load_settings_from
from tunesmith.config.settings import Settings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.feed.order import ListedOrder, Order
from tunesmith.data.feed.pipeline import Pipeline
from tunesmith.data.prepare import PreparedData, prepare_data
from tunesmith.data.reference_values import StoredValues
from tunesmith.data.store.address import RowRef
from tunesmith.models.packing.proof import Packing
from tunesmith.models.preprocessing.processor import load_preprocessor
from tunesmith.train.objectives.table import build_objective
from tunesmith.train.padding_free import find_packing
from tunesmith.train.pipelines import build_held_out_pipeline, held_out_batches
from tunesmith.train.reference.choose import as_it_is, kind_of_reference
from tunesmith.train.reference.kinds import AdapterOff, OtherModel
from tunesmith.train.reference.precompute import Precomputation, all_refs, open_values
from tunesmith.train.setup import load_trained_model
from tunesmith.train.steps.forward import Forward


@dataclass(frozen=True)
class Prepared:
    settings: Settings
    data: PreparedData
    forward: Forward
    reference: AdapterOff | OtherModel
    values: StoredValues
    packing: Packing | None

    def pipeline(self, order: Order, *, size: int = 3, with_values: bool = False) -> Pipeline:
        training = self.settings.training.model_copy(update={"per_device_eval_batch_size": size})
        settings = self.settings.model_copy(update={"training": training})
        values = self.values if with_values else None
        return build_held_out_pipeline(
            self.data, order, settings, packing=self.packing, device=self.forward.device, values=values
        )

    def batches(self, *, size: int, with_values: bool) -> Iterator[Batch]:
        """Of all rows, `size` a batch."""
        order = ListedOrder(tuple(self.refs))
        return held_out_batches(self.pipeline(order, size=size, with_values=with_values))

    @property
    def refs(self) -> list[RowRef]:
        return list(all_refs(self.data))

    def precompute(self, *, size: int = 3) -> bool:
        may_skip = self.settings.data.on_bad_row == "skip"

        def pipeline_of(order: Order) -> Pipeline:
            return self.pipeline(order, size=size)

        job = Precomputation(self.reference, self.forward, self.values, pipeline_of, may_skip)
        return job.run(self.values.lacking(self.refs))


def prepare(
    model: Path, folder: Path, *, stage: str = "dpo", count: int = 7, images: bool = False, **changes: Any
) -> Prepared:
    """Rows in `folder` and the model, whose training has not begun."""
    if not (folder / "rows.json").exists():
        write_preferences(folder, stage=stage, count=count, images=images)
    settings = load_settings_from(preference_settings(model, folder, stage=stage, **changes), verb="train")
    data = prepare_data(settings, load_preprocessor(settings.model, settings.media))
    policy = load_trained_model(settings).double()
    forward = Forward(policy, build_objective(settings), FLOAT64, torch.device("cpu"))
    kind = kind_of_reference(policy, settings)
    assert kind is not None
    values = open_values(data, settings, reference_key=f"of-a-test-{folder.name}")
    packing = find_packing(forward, data, settings)
    return Prepared(settings, data, forward, as_it_is(kind, policy, settings), values, packing)


def with_same_tokenizer(folder: Path, place: Path, config: PretrainedConfig) -> Path:
    """A model of `config` with random weights and the tokenizer of the one in `folder`, written to `place`."""
    shutil.copytree(folder, place)
    for weights in place.glob("*.safetensors*"):
        weights.unlink()
    save_random_model(type(AutoModelForCausalLM.from_config(config)), config, place)
    return place
