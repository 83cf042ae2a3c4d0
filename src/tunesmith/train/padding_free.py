"""Whether a run's batches are sequences without padding: tried on the model itself with rows of the run's own.

Knows nothing of how a model keeps samples apart (`models.packing`) or how batches are laid out (`data.collate`).
"""

from __future__ import annotations

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.data.batches.packing_trial import build_sharing_trial, build_trial
from tunesmith.data.prepare import PreparedData
from tunesmith.models.packing.proof import Packing, PackingUnproven, prove_packing, prove_sharing
from tunesmith.models.parts import core_model
from tunesmith.train.steps.forward import Forward


def find_packing(forward: Forward, data: PreparedData, settings: Settings) -> Packing | None:
    """How the model takes several examples as one sequence, None where they have to be padded; says so once."""
    with forward.autocast():
        found = prove_packing(
            forward.model,
            build_trial(
                data.first.samples,
                data.examples.media,
                packed=data.collator(packed=True),
                padded=data.collator(packed=False),
            ),
            may_split=not settings.training.torch_compile,
        )
    if isinstance(found, Packing):
        return _sharing(found, forward, data, settings)
    left_out = "packing: true is left out, and the rows" if settings.packs else "the rows"
    log.warning(
        f"{_name(forward)} does not keep the samples of one sequence apart ({found.reason}): "
        f"{left_out} of a batch are padded to the longest. The loss is the same, it only takes longer"
    )
    return None


def _sharing(packing: Packing, forward: Forward, data: PreparedData, settings: Settings) -> Packing:
    """`packing`, with beginnings computed once for all their answers where the model can and the settings want it."""
    if settings.training.rows != "pairs":
        return packing
    found = _prove_sharing(packing, forward, data, settings) if settings.preference.share_prefix else None
    if isinstance(found, Packing):
        return found
    costs = _costs_of_repeating(settings)
    if found is not None:
        log.warning(
            f"{_name(forward)} does not keep two answers behind one prompt apart ({found.reason}): prompts and their "
            f"media are computed once for each answer. The loss is the same, it only takes longer{costs}"
        )
    elif costs:
        log.warning(f"share_prefix: false{costs}")
    return packing


def _costs_of_repeating(settings: Settings) -> str:
    """What else is not as asked for where lengths count a prompt once, and it stands twice."""
    if settings.packs:
        return ". packing: true is left out, because it fills packs with prompts that stand once"
    if settings.data.batch_tokens is not None:
        return ". batch_tokens counts every prompt once, so a batch has up to twice as many tokens"
    return ""


def _prove_sharing(
    packing: Packing, forward: Forward, data: PreparedData, settings: Settings
) -> Packing | PackingUnproven:
    if settings.training.torch_compile:
        return PackingUnproven("torch_compile: true compiles attention over the whole sequence")
    trial = build_sharing_trial(
        data.first.samples,
        data.examples.media,
        shared=data.collator(packed=True, shared=True),
        padded=data.collator(packed=False),
    )
    if trial is None:
        return PackingUnproven("none of the first rows has two answers to try it on")
    with forward.autocast():
        return prove_sharing(forward.model, packing, trial)


def _name(forward: Forward) -> str:
    return type(core_model(forward.model)).__name__
