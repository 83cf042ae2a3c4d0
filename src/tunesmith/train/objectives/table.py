"""Which objective a stage has. A new stage is one file beside this one and one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tunesmith.config.preference import PairLoss
from tunesmith.config.settings import Settings
from tunesmith.errors import NotSupportedYetError
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.kto import KtoObjective, VerdictTerms
from tunesmith.train.objectives.objective import Objective
from tunesmith.train.objectives.pair_losses import PairOptions
from tunesmith.train.objectives.reference import Reference
from tunesmith.train.objectives.reward import RewardObjective
from tunesmith.train.objectives.sft import SupervisedObjective

_Build = Callable[[Settings, Reference | None], Objective]


def build_objective(settings: Settings, reference: Reference | None = None) -> Objective:
    """The objective of `stage`.

    reference: what the model is compared with; None for stages without one, where batches bring its log-probabilities,
               or to look at names alone

    Raises NotSupportedYetError for a stage whose loss is not computed here.
    """
    stage = settings.training.stage
    if stage not in _BUILDERS:
        raise NotSupportedYetError(f"stage: {stage} is not supported yet; stages here: {', '.join(_BUILDERS)}")
    return _BUILDERS[stage](settings, reference)


def _supervised(settings: Settings, _: Reference | None) -> Objective:
    return SupervisedObjective(chunk_tokens=settings.training.loss_chunk_tokens)


def _dpo(settings: Settings, reference: Reference | None) -> Objective:
    return _pairs(settings, settings.preference.pref_loss, reference)


def _orpo(settings: Settings, _: Reference | None) -> Objective:
    return _pairs(settings, "orpo", None)


def _simpo(settings: Settings, _: Reference | None) -> Objective:
    return _pairs(settings, "simpo", None)


def _pairs(settings: Settings, loss: PairLoss, reference: Reference | None) -> Objective:
    given = settings.preference
    terms = PairTerms(
        loss=loss,
        options=PairOptions(given.pref_beta, label_smoothing=given.dpo_label_smoothing, gamma=given.simpo_gamma),
        bco_weight=given.pref_bco_weight,
        ftx_weight=given.pref_ftx,
        ld_alpha=given.ld_alpha,
    )
    return PairObjective(terms, settings.training.loss_chunk_tokens, reference)


def _reward(_: Settings, __: Reference | None) -> Objective:
    return RewardObjective()


def _kto(settings: Settings, reference: Reference | None) -> Objective:
    given = settings.preference
    terms = VerdictTerms(
        beta=given.pref_beta,
        good_weight=given.kto_chosen_weight,
        bad_weight=given.kto_rejected_weight,
        ftx_weight=given.pref_ftx,
    )
    return KtoObjective(terms, settings.training.loss_chunk_tokens, reference)


_BUILDERS: Mapping[str, _Build] = {
    "pt": _supervised,
    "sft": _supervised,
    "dpo": _dpo,
    "orpo": _orpo,
    "simpo": _simpo,
    "kto": _kto,
    "rm": _reward,
}
