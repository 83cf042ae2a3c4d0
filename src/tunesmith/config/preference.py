"""Learning from preferences: which loss, how strong, and what the model is compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.config.section import Names, Optional, Section

PairLoss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "kto_pair",
    "orpo",
    "simpo",
    "robust",
    "bco",
    "sppo_hard",
    "nca_pair",
    "apo_zero",
    "apo_down",
    "exo",
]


class PreferenceSettings(Section):
    """Stages dpo, orpo, simpo, kto and rm."""

    pref_loss: PairLoss = "sigmoid"
    """dpo: the loss of a pair. orpo and simpo are stages too."""
    pref_beta: float = Field(0.1, gt=0)
    """How much the log-probabilities' distance to the reference counts; for orpo the weight of the odds ratio."""
    pref_ftx: float = Field(0.0, ge=0)
    """Weight of the cross-entropy of the chosen answer (mean over its tokens), added to the loss."""
    pref_bco_weight: float = Field(0.0, ge=0)
    """Weight of the bco loss, averaged with pref_loss by weight."""
    simpo_gamma: float = 0.5
    """simpo: the margin by which a chosen answer must lead."""
    dpo_label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """sigmoid, robust, exo: the share of pairs that are taken to be the wrong way round."""
    ld_alpha: float | None = Field(None, ge=0, le=1)
    """Weight of an answer's tokens beyond the length of the other one (LD-DPO, arXiv 2409.06411); 1 or empty: full."""
    kto_chosen_weight: float = Field(1.0, ge=0)
    """kto: weight of answers marked good."""
    kto_rejected_weight: float = Field(1.0, ge=0)
    """kto: weight of answers marked bad."""
    ref_model: Annotated[str | None, Optional] = None
    """What the model is compared with. Empty: itself as the training began."""
    ref_model_adapters: Names = ()
    """Adapters on the reference model."""
    ref_model_quantization_bit: Literal[4, 8] | None = None
    """Load the reference model quantised."""
    precompute_ref: bool | Literal["auto"] = "auto"
    """Compute what rows are compared with once, before the training, and keep it with the data; auto: where it pays."""
    share_prefix: bool = True
    """A prompt and its media are computed once for both answers, where the model keeps them apart exactly."""
