"""Which objective a stage has. A new stage is one file beside this one and one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tunesmith.config.settings import Settings
from tunesmith.errors import NotSupportedYetError
from tunesmith.train.objectives.objective import Objective
from tunesmith.train.objectives.sft import SupervisedObjective


def _build_sft(settings: Settings) -> Objective:
    return SupervisedObjective(chunk_tokens=settings.training.loss_chunk_tokens)


_BUILDERS: Mapping[str, Callable[[Settings], Objective]] = {"sft": _build_sft}


def build_objective(settings: Settings) -> Objective:
    """The objective of `stage`. Raises NotSupportedYetError for a stage that has none yet."""
    stage = settings.training.stage
    if stage not in _BUILDERS:
        raise NotSupportedYetError(f"stage: {stage} is not supported yet; stages here: {', '.join(_BUILDERS)}")
    return _BUILDERS[stage](settings)
