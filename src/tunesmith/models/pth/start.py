"""`pretrained_pth`: a training that starts from a projector which XTuner trained."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.models.pth.projector import MODULE, apply_projector, read_projector


def start_projector(model: PreTrainedModel, settings: Settings) -> None:
    """Put `pretrained_pth` into the projector of `model`, which has no adapter yet.

    Raises UsageError where nothing that this run saves would hold it, or for models that are no LLaVA; ModelError for
    files that cannot be read or do not fit.
    """
    if settings.model.pretrained_pth is None:
        return
    tuning = settings.tuning
    if tuning.finetuning_type == "lora" and MODULE not in {
        name.rpartition(".")[2] for name in tuning.additional_target
    }:
        raise UsageError(
            "pretrained_pth: an adapter run saves the adapter and what additional_target names, not the projector; set "
            f"additional_target: {MODULE} to train and save it (as XTuner does), or make a model of it first: "
            "tunesmith convert pth_to_hf PTH FOLDER --language_model A --vision_tower B"
        )
    source = Path(settings.model.pretrained_pth).expanduser()
    name = apply_projector(model, read_projector(source), source)
    log.info(f"{name} starts from {source}")
