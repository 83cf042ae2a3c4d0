"""From a model that is about to train to what it will be compared with: which, whether computed before, how packed.

Knows no checkpoints: all of it comes before one is restored, so that a resumed run compares with the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.pipeline import Pipeline
from tunesmith.data.prepare import PreparedData
from tunesmith.data.reference_values import StoredValues
from tunesmith.models.dropout import switch_off_dropout
from tunesmith.models.frozen_copy import is_cut
from tunesmith.models.packing.proof import Packing
from tunesmith.train.objectives.reference import Reference
from tunesmith.train.padding_free import find_packing
from tunesmith.train.pipelines import build_held_out_pipeline
from tunesmith.train.reference.choose import (
    Kind,
    as_it_is,
    build_reference,
    choose_for_evaluation,
    describe,
    goes_on,
    kind_of_reference,
)
from tunesmith.train.reference.kinds import AdapterOff, OtherModel, Stored
from tunesmith.train.reference.precompute import Precomputation, all_refs, open_values, wants_precompute
from tunesmith.train.reference.reference_key import reference_key
from tunesmith.train.steps.forward import Forward


@dataclass(frozen=True, slots=True)
class Compared:
    """What a run compares its model with.

    reference: None for stages that compare with nothing
    values:    the reference's log-probabilities, where they were computed before; the batches bring them then
    packing:   how both models take examples without padding, None where one of them does not
    """

    reference: Reference | None
    values: StoredValues | None
    packing: Packing | None

    @property
    def model(self) -> nn.Module | None:
        """A model in memory beside the one that trains."""
        return self.reference.model if isinstance(self.reference, OtherModel) else None


def prepare_reference(forward: Forward, data: PreparedData, settings: Settings) -> Compared:
    """What `forward`'s model, whose training has not begun, is compared with.

    Raises UsageError or ModelError for a reference that does not fit, and DataError for rows as a training does.
    """
    packing = find_packing(forward, data, settings)
    kind = kind_of_reference(forward.model, settings)
    if kind is None:
        return Compared(None, None, packing)
    _switch_off_dropout(forward.model, settings)
    if kind == "frozen copy" and goes_on(settings):
        log.note_once(
            "the model is compared with itself as it is now, its adapter included; to compare it with the base give "
            f"ref_model: {settings.model.model_name_or_path}"
        )
    if wants_precompute(settings, kind, data.train, cuts=is_cut(forward.model)):
        values = _precompute(kind, forward, data, settings, packing)
        if values is not None:
            return Compared(Stored(f"{describe(kind, settings)}, computed before the first step"), values, packing)
        log.warning("what rows are compared with could not be kept, as said above: it is computed anew in every step")
    reference = build_reference(kind, forward.model, settings)
    return Compared(reference, None, _both_ways(reference, packing, forward, data, settings))


def _precompute(
    kind: Kind, forward: Forward, data: PreparedData, settings: Settings, packing: Packing | None
) -> StoredValues | None:
    """The values of all rows; None where they cannot be kept. Another model is loaded only if one is lacking."""
    key = reference_key(settings, kind, encoder_key=data.encoder.key, device=forward.device)
    values = open_values(data, settings, reference_key=key)
    lacking = values.lacking(all_refs(data))
    if not lacking:
        return values
    reference = as_it_is(kind, forward.model, settings)
    packing = _both_ways(reference, packing, forward, data, settings)

    def pipeline_of(order: Order) -> Pipeline:
        return build_held_out_pipeline(data, order, settings, packing=packing, device=forward.device)

    may_skip = settings.data.on_bad_row == "skip"
    complete = Precomputation(reference, forward, values, pipeline_of, may_skip).run(lacking)
    return values if complete else None


def prepare_evaluation(forward: Forward, data: PreparedData, settings: Settings) -> Compared:
    """What a model that does not train is compared with, in one pass over rows. Raises ModelError."""
    packing = find_packing(forward, data, settings)
    reference = choose_for_evaluation(forward.model, settings)
    if reference is None:
        return Compared(None, None, packing)
    return Compared(reference, None, _both_ways(reference, packing, forward, data, settings))


def _both_ways(
    reference: AdapterOff | OtherModel,
    packing: Packing | None,
    forward: Forward,
    data: PreparedData,
    settings: Settings,
) -> Packing | None:
    """How both models take the same batch: without padding only where both do so in the same way."""
    if packing is None or isinstance(reference, AdapterOff) or reference.shares:
        return packing
    others = find_packing(replace(forward, model=reference.model), data, settings)
    if others is not None and _way(others) == _way(packing):
        return packing
    if others is not None:
        log.warning(f"{reference.description} packs samples in another way than the model, so batches are padded")
    return None


def _way(packing: Packing) -> tuple[object, ...]:
    axes = None if packing.axes is None else packing.axes.rope_index.__qualname__
    return packing.splits, packing.shares, axes


def _switch_off_dropout(model: nn.Module, settings: Settings) -> None:
    """What dropout does to the model would count as a distance from the reference (TRL switches it off too)."""
    if switch_off_dropout(model) and settings.tuning.lora_dropout > 0:
        log.note_once(
            f"lora_dropout: {settings.tuning.lora_dropout:g} is switched off, because the model is compared with "
            "another one, and what dropout does would count as a difference"
        )
