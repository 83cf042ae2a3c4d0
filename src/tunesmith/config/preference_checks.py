"""Keys of learning from preferences that contradict the stage, or that it leaves without an effect.

Pure functions from values to messages, as in `checks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tunesmith.config.fields import FIELDS
from tunesmith.config.resolve import Values
from tunesmith.config.stages import REFERENCE_FREE

_SMOOTHED = ("sigmoid", "robust", "exo")
_OF_REFERENCE = ("ref_model", "ref_model_adapters", "ref_model_quantization_bit", "precompute_ref")
_OF_REF_MODEL = ("ref_model_adapters", "ref_model_quantization_bit")
_OF_KTO = ("kto_chosen_weight", "kto_rejected_weight")
_PAIR_STAGES = ("dpo", "orpo", "simpo", "rm")


def check_preference(values: Values) -> Iterator[str]:
    """What contradicts the stage."""
    stage, loss = values["stage"], values["pref_loss"]
    if stage in REFERENCE_FREE and loss not in (stage, FIELDS["pref_loss"].default):  # run.yaml has the default too
        yield (
            f"{values.where('pref_loss')}: stage {stage} has a loss of its own, and pref_loss={loss} names another; "
            "leave pref_loss out, or set stage: dpo"
        )
    if stage == "rm" and values["sample_prompts"]:
        yield (
            f"{values.where('sample_prompts')}: stage rm trains a model that scores answers and gives none, and cannot "
            "be asked anything; leave sample_prompts out"
        )
    if stage == "kto" and not any(values[key] for key in ("kto_chosen_weight", "kto_rejected_weight", "pref_ftx")):
        yield (
            f"{values.where('kto_chosen_weight')}: kto_chosen_weight and kto_rejected_weight are both 0, and nothing "
            "would be learned; raise one"
        )
    yield from _of_no_ref_model(values)


def _of_no_ref_model(values: Values) -> Iterator[str]:
    """Keys that say how ref_model is loaded, where the model is compared with itself."""
    if values["ref_model"] or not _effects(values)["ref_model"]:
        return
    base = values["model_name_or_path"] or "NAME"
    for key in (key for key in _OF_REF_MODEL if values[key]):
        yield (
            f"{values.where(key)}: there is no ref_model that it could be for; add ref_model: {base} (or another "
            f"model), or leave {key} out"
        )


def note_preference(values: Values) -> Iterator[str]:
    """Given keys that have no effect with the stage and loss at hand."""
    acts = _effects(values)
    for key in values.given:
        if key in acts and not acts[key] and values[key] != FIELDS[key].default:
            decides = "pref_loss" if values["stage"] == "dpo" and key not in _OF_KTO else "stage"
            yield f"{key}: it has no effect with {decides} {values[decides]}"
    if values["neftune_noise_alpha"] and acts["ref_model"] and values["stage"] != "grpo":
        yield "neftune_noise_alpha: the model alone gets noise, so it differs from its reference from the first step"


def _effects(values: Values) -> Mapping[str, bool]:
    """By key, whether it acts."""
    stage, loss = values["stage"], _loss(values)
    compares = stage == "kto" or (loss is not None and loss not in REFERENCE_FREE)
    return {
        "pref_loss": stage in {"dpo", *REFERENCE_FREE},
        "pref_beta": stage == "kto" or loss is not None,
        "pref_ftx": stage == "kto" or loss is not None,
        "pref_bco_weight": compares and stage == "dpo",
        "simpo_gamma": loss == "simpo",
        "dpo_label_smoothing": loss in _SMOOTHED,
        "ld_alpha": compares and stage == "dpo",
        **{key: stage == "kto" for key in _OF_KTO},
        "share_prefix": stage in {*_PAIR_STAGES, "grpo"},  # grpo has a note of its own
        **{key: compares or stage == "grpo" for key in _OF_REFERENCE},  # grpo refuses them by itself
    }


def _loss(values: Values) -> str | None:
    """The loss of pairs; None for stages without one."""
    stage = values["stage"]
    if stage in REFERENCE_FREE:
        return str(stage)
    return str(values["pref_loss"]) if stage == "dpo" else None
