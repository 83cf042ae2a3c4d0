"""`pretrained_pth`: a training that starts from a projector which XTuner trained."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import UsageError
from tunesmith.models.adapters.targets import projector_in_full
from tunesmith.models.parts import find_parts
from tunesmith.models.pth.projector import MODULE, apply_projector, read_projector


def start_projector(model: PreTrainedModel, settings: Settings) -> None:
    """Put `pretrained_pth` into the projector of `model`, which has no adapter yet.

    Raises UsageError where nothing that this run saves would hold it, or for models that are no LLaVA; ModelError for
    files that cannot be read or do not fit.
    """
    if settings.model.pretrained_pth is None:
        return
    if settings.tuning.finetuning_type == "lora" and not _is_saved(model, settings.tuning):
        raise UsageError(
            "pretrained_pth: this run saves its adapter and not the projector; set freeze_multi_modal_projector: false "
            "to train and save it (as XTuner does; lora_target must not name its layers), or make a model of it first: "
            "tunesmith convert pth_to_hf PTH FOLDER --language_model A --vision_tower B"
        )
    source = Path(settings.model.pretrained_pth).expanduser()
    name = apply_projector(model, read_projector(source), source)
    log.info(f"{name} starts from {source}")


def _is_saved(model: PreTrainedModel, tuning: TuningSettings) -> bool:
    """Whether an adapter run trains the projector in full, which puts it into the adapter's file."""
    is_named = MODULE in {name.rpartition(".")[2] for name in tuning.additional_target}
    return is_named or bool(projector_in_full(model, find_parts(model), tuning))
