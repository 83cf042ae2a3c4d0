"""Whether a run's batches are sequences without padding: tried on the model itself with rows of the run's own.

Knows nothing of how a model keeps samples apart (`models.packing`) or how batches are laid out (`data.collate`).
"""

from __future__ import annotations

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.data.batches.packing_trial import build_trial
from tunesmith.data.prepare import PreparedData
from tunesmith.models.packing.proof import Packing, prove_packing
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
        return found
    wanted = settings.data.packing or settings.data.neat_packing
    left_out = "packing: true is left out, and the rows" if wanted else "the rows"
    log.warning(
        f"{type(core_model(forward.model)).__name__} does not keep the samples of one sequence apart ({found.reason}): "
        f"{left_out} of a batch are padded to the longest. The loss is the same, it only takes longer"
    )
    return None
