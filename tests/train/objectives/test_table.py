"""Which objective a stage has, and that its settings arrive where they act."""

from __future__ import annotations

import pytest

from tests.train.objectives.pairs import FixedReference, other_model
from tunesmith.config.settings import Settings
from tunesmith.errors import NotSupportedYetError
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.kto import KtoObjective, VerdictTerms
from tunesmith.train.objectives.pair_losses import PairOptions
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.objectives.table import build_objective


def settings(stage: str, **preference: object) -> Settings:
    return Settings.model_validate(
        {"training": {"stage": stage, "loss_chunk_tokens": 77}, "preference": dict(preference)}
    )


def test_numbers_of_pairs_arrive():
    numbers = {"pref_beta": 0.3, "dpo_label_smoothing": 0.1, "pref_ftx": 0.4, "pref_bco_weight": 0.2, "ld_alpha": 0.6}
    reference = FixedReference(other_model("phi"))
    objective = build_objective(settings("dpo", pref_loss="robust", simpo_gamma=0.9, **numbers), reference)
    terms = PairTerms(
        "robust", PairOptions(0.3, label_smoothing=0.1, gamma=0.9), bco_weight=0.2, ftx_weight=0.4, ld_alpha=0.6
    )
    assert objective == PairObjective(terms, 77, reference)


@pytest.mark.parametrize("stage", ["orpo", "simpo"])
def test_stages_named_after_their_loss_need_no_reference(stage):
    objective = build_objective(settings(stage))
    assert isinstance(objective, PairObjective)
    assert objective.terms.loss == stage and not objective.terms.compares
    assert objective == build_objective(settings("dpo", pref_loss=stage))


def test_numbers_of_judged_answers_arrive():
    objective = build_objective(
        settings("kto", pref_beta=0.3, kto_chosen_weight=1.5, kto_rejected_weight=0.5, pref_ftx=0.1)
    )
    assert isinstance(objective, KtoObjective)
    assert objective.terms == VerdictTerms(0.3, good_weight=1.5, bad_weight=0.5, ftx_weight=0.1)


@pytest.mark.parametrize(
    ("stage", "changes", "term", "more"),
    [
        ("sft", {}, "token", ()),
        ("pt", {}, "token", ()),
        ("dpo", {}, "pair", ()),
        ("dpo", {"pref_ftx": 0.1}, "pair", ("sft_loss",)),
        ("orpo", {}, "pair", ("sft_loss", "odds_ratio_loss")),
        ("kto", {}, "answer", ("kl",)),
        ("kto", {"pref_ftx": 0.1}, "answer", ("kl", "sft_loss")),
        ("rm", {}, "pair", ()),
    ],
)
def test_terms_and_metrics(stage, changes, term, more):
    objective = build_objective(settings(stage, **changes))
    assert objective.term == term
    if isinstance(objective, SupervisedObjective):
        assert objective.metrics == ("accuracy",)
    else:
        assert {"rewards/chosen", "rewards/rejected", "rewards/margins", *more} <= set(objective.metrics)


def test_a_stage_without_a_loss_here_is_refused():
    with pytest.raises(NotSupportedYetError, match="stage: grpo is not supported yet; stages here: pt, sft, dpo"):
        build_objective(settings("grpo"))
