"""Every loss of pairs and of judged answers equals TRL 1.16's own trainer on the same batch: value and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.train.objectives.pairs import (
    FixedReference,
    Pair,
    gradients,
    judged_batch,
    make_pairs,
    other_model,
    pair_batch,
    trl_concatenated_inputs,
    trl_judged_inputs,
    trl_pair_inputs,
)
from tests.train.objectives.trl_trainers import cpo_trainer, dpo_trainer, exact, kto_trainer, orpo_trainer
from tests.train.tiny_models import tiny_model
from tunesmith.train.objectives.dpo import PairObjective, PairTerms
from tunesmith.train.objectives.kto import KtoObjective, VerdictTerms
from tunesmith.train.objectives.objective import Objective
from tunesmith.train.objectives.pair_losses import PairOptions

KINDS = ("qwen2", "qwen2_5_vl")
BETA = 0.3


@pytest.fixture(autouse=True)
def exact_trl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with exact(monkeypatch):
        yield


def our_loss(objective: Objective, model: nn.Module, batch) -> Tensor:
    """Mean over the terms of one batch that is a whole step, with its gradients in `model`."""
    terms = objective.num_terms(batch)
    with torch.no_grad():
        statistics = objective.statistics(model, batch)
    loss = objective.loss(model, batch, means=None if statistics is None else statistics / terms).loss_sum / terms
    loss.backward()
    return loss.detach()


def assert_equal(ours: tuple[Tensor, nn.Module], theirs: tuple[Tensor, nn.Module], *, atol: float = 1e-12) -> None:
    (our_value, our_model), (their_value, their_model) = ours, theirs
    assert our_value.item() == pytest.approx(their_value.item(), rel=1e-10, abs=1e-12)
    expected = gradients(their_model)
    assert gradients(our_model).keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(our_model)[name], gradient, rtol=1e-8, atol=atol)


def pair_objective(terms: PairTerms, kind: str) -> PairObjective:
    return PairObjective(terms, chunk_tokens=3, reference=FixedReference(other_model(kind)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("loss", "theirs", "options"),
    [
        ("sigmoid", "sigmoid", {}),
        ("sigmoid", "sigmoid", {"ld_alpha": 0.3}),
        ("sigmoid_norm", "sigmoid_norm", {}),
        ("sigmoid_norm", "sigmoid_norm", {"ld_alpha": 0.0}),
        ("hinge", "hinge", {}),
        ("ipo", "ipo", {}),
        ("ipo", "ipo", {"ld_alpha": 0.5}),
        ("robust", "robust", {"label_smoothing": 0.1}),
        ("bco", "bco_pair", {}),
        ("nca_pair", "nca_pair", {}),
        ("sppo_hard", "sppo_hard", {}),
        ("apo_zero", "apo_zero", {}),
        ("apo_down", "apo_down", {}),
        ("exo", "exo_pair", {"label_smoothing": 0.2}),
        ("exo", "exo_pair", {"label_smoothing": 1e-3}),  # what EXO takes for none
    ],
)
def test_losses_of_pairs(loss, theirs, options, kind, tmp_path):
    pairs = make_pairs(kind, 4)
    trl_model = tiny_model(kind)
    trainer = dpo_trainer(tmp_path, trl_model, other_model(kind), loss_type=[theirs], beta=BETA, **options)
    expected = trainer.compute_loss(trl_model, trl_pair_inputs(pairs))
    expected.backward()

    smoothing = options.get("label_smoothing", 0.0)
    numbers = PairOptions(BETA, label_smoothing=0.0 if smoothing == 1e-3 else smoothing)
    terms = PairTerms(loss, numbers, ld_alpha=options.get("ld_alpha"))
    model = tiny_model(kind)
    assert_equal((our_loss(pair_objective(terms, kind), model, pair_batch(pairs)), model), (expected, trl_model))


@pytest.mark.parametrize("kind", KINDS)
def test_trl_as_it_is_agrees_within_the_rounding_of_its_kernel(kind, tmp_path, monkeypatch):
    monkeypatch.undo()
    torch.set_default_dtype(torch.float32)
    pairs, trl_model = make_pairs(kind, 4), tiny_model(kind)
    trainer = dpo_trainer(tmp_path, trl_model, other_model(kind), loss_type=["sigmoid"], beta=BETA)
    expected = trainer.compute_loss(trl_model, trl_pair_inputs(pairs))
    ours = our_loss(pair_objective(PairTerms("sigmoid", PairOptions(BETA)), kind), tiny_model(kind), pair_batch(pairs))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_label_smoothing_of_sigmoid_is_the_loss_of_pairs_some_of_which_are_swapped(kind, tmp_path):
    """TRL 1.16 has no conservative DPO; what it stands for can be asked of its plain loss."""
    pairs, smoothing = make_pairs(kind, 3), 0.2
    swapped = [Pair(pair.prompt, pair.rejected, pair.chosen, pair.patches) for pair in pairs]
    trl_model = tiny_model(kind)
    trainer = dpo_trainer(tmp_path, trl_model, other_model(kind), loss_type=["sigmoid"], beta=BETA)
    right, wrong = (trainer.compute_loss(trl_model, trl_pair_inputs(given)) for given in (pairs, swapped))
    expected = (1 - smoothing) * right + smoothing * wrong
    expected.backward()

    terms = PairTerms("sigmoid", PairOptions(BETA, label_smoothing=smoothing))
    model = tiny_model(kind)
    ours = our_loss(pair_objective(terms, kind), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model), atol=1e-6)  # norms round each backward pass to float32


def test_the_bco_loss_beside_another_is_averaged_with_it_by_weight(tmp_path):
    pairs, weight = make_pairs("qwen2", 3), 0.25
    trl_model = tiny_model("qwen2")
    trainer = dpo_trainer(
        tmp_path, trl_model, other_model("qwen2"), loss_type=["hinge", "bco_pair"], loss_weights=[0.8, 0.2], beta=BETA
    )
    expected = trainer.compute_loss(trl_model, trl_pair_inputs(pairs))
    expected.backward()

    terms = PairTerms("hinge", PairOptions(BETA), bco_weight=weight)
    model = tiny_model("qwen2")
    ours = our_loss(pair_objective(terms, "qwen2"), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model))


def test_the_cross_entropy_of_chosen_answers_is_added(tmp_path):
    """TRL takes the mean over all chosen tokens, LLaMA-Factory over each answer's: the same where all are as long."""
    pairs, weight = [Pair([5, 6, 7], [8, 9, 10], [11]), Pair([12], [13, 14, 15], [16, 17])], 0.4
    trl_model = tiny_model("qwen2")
    trainer = dpo_trainer(
        tmp_path, trl_model, other_model("qwen2"), loss_type=["sigmoid", "sft"], loss_weights=[1.0, weight], beta=BETA
    )
    expected = trainer.compute_loss(trl_model, trl_pair_inputs(pairs))
    expected.backward()

    terms = PairTerms("sigmoid", PairOptions(BETA), ftx_weight=weight)
    model = tiny_model("qwen2")
    ours = our_loss(pair_objective(terms, "qwen2"), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model))


def test_metrics_of_pairs(tmp_path):
    pairs, model = make_pairs("qwen2", 5), tiny_model("qwen2")
    trainer = dpo_trainer(tmp_path, model, other_model("qwen2"), loss_type=["sigmoid"], beta=BETA)
    trainer.compute_loss(model, trl_pair_inputs(pairs))

    objective = pair_objective(PairTerms("sigmoid", PairOptions(BETA)), "qwen2")
    metrics = objective.loss(model, pair_batch(pairs), means=None).metrics
    assert tuple(metrics) == objective.metrics
    for name, metric in metrics.items():
        (theirs,) = trainer._metrics["train"][name]
        assert metric.total.item() / metric.count == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    "verdicts", [(True, False, True, False), (False, False, False, True), (True, True, True, True)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_kto(kind, verdicts, tmp_path):
    pairs = make_pairs(kind, 4)
    trl_model = tiny_model(kind)
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.7}
    trainer = kto_trainer(tmp_path, trl_model, other_model(kind), beta=BETA, **weights)
    expected = trainer.compute_loss(trl_model, trl_judged_inputs(pairs, verdicts))
    expected.backward()

    terms = VerdictTerms(BETA, good_weight=1.5, bad_weight=0.7)
    objective = KtoObjective(terms, chunk_tokens=3, reference=FixedReference(other_model(kind)))
    batch, model = judged_batch(pairs, verdicts), tiny_model(kind)
    assert_equal((our_loss(objective, model, batch), model), (expected, trl_model))

    means = objective.statistics(model, batch) / 4
    for name, metric in objective.loss(model, batch, means=means).metrics.items():
        theirs = trainer._metrics["train"][name]
        assert bool(theirs) == bool(metric.count)
        if theirs:
            assert metric.total.item() / int(metric.count) == pytest.approx(theirs[0], rel=1e-6)


def test_kto_where_the_policy_has_moved_away_from_the_reference(tmp_path):
    pairs, verdicts = make_pairs("qwen2", 4), (True, False, False, True)
    policy, reference = other_model("qwen2").train().requires_grad_(True), tiny_model("qwen2")
    trainer = kto_trainer(tmp_path, policy, reference, beta=BETA)
    expected = trainer.compute_loss(policy, trl_judged_inputs(pairs, verdicts))
    assert trainer._metrics["train"]["kl"][0] > 0.1

    objective = KtoObjective(VerdictTerms(BETA), chunk_tokens=3, reference=FixedReference(reference))
    assert our_loss(objective, policy, judged_batch(pairs, verdicts)).item() == pytest.approx(
        expected.item(), rel=1e-10
    )


def test_orpo_of_one_pair_that_is_all_answer(tmp_path):
    """TRL's cross-entropy is over prompt and answer of all pairs together, LLaMA-Factory's over each answer: there the
    two are the same."""
    pairs = [Pair([5], [6, 7, 8, 9], [10, 11])]
    trl_model = tiny_model("qwen2")
    expected = orpo_trainer(tmp_path, trl_model, beta=BETA).compute_loss(trl_model, trl_concatenated_inputs(pairs))
    expected.backward()
    model = tiny_model("qwen2")
    ours = our_loss(PairObjective(PairTerms("orpo", PairOptions(BETA)), 3), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model))


@pytest.mark.parametrize("kind", KINDS)
def test_orpo(kind, tmp_path):
    """Its odds ratio by TRL's own function, of TRL's own log-probabilities."""
    pairs = make_pairs(kind, 4)
    trl_model = tiny_model(kind)
    trainer = orpo_trainer(tmp_path, tiny_model("qwen2"), beta=BETA)
    chosen, rejected = means_by_trl(trainer, trl_model, pairs)
    expected = -chosen.mean() - trainer.odds_ratio_loss(chosen, rejected)[0].mean()
    expected.backward()

    model = tiny_model(kind)
    ours = our_loss(PairObjective(PairTerms("orpo", PairOptions(BETA)), 3), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model))


def test_simpo(tmp_path):
    pairs, gamma = make_pairs("qwen2", 4), 0.7
    trl_model = tiny_model("qwen2")
    trainer = cpo_trainer(tmp_path, trl_model, loss_type="simpo", simpo_gamma=gamma, cpo_alpha=0.0, beta=BETA)
    expected = trainer.compute_loss(trl_model, trl_concatenated_inputs(pairs))
    expected.backward()

    model = tiny_model("qwen2")
    ours = our_loss(PairObjective(PairTerms("simpo", PairOptions(BETA, gamma=gamma)), 3), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model))


def test_simpo_with_images(tmp_path):
    """Its loss by TRL's own function, of TRL's own log-probabilities: its trainer knows no images."""
    pairs, gamma = make_pairs("qwen2_5_vl", 4), 0.7
    trl_model = tiny_model("qwen2_5_vl")
    trainer = cpo_trainer(tmp_path, tiny_model("qwen2"), loss_type="simpo", simpo_gamma=gamma, cpo_alpha=0.0, beta=BETA)
    expected = trainer.cpo_loss(*means_by_trl(trainer, trl_model, pairs))[0].mean()
    expected.backward()

    model = tiny_model("qwen2_5_vl")
    ours = our_loss(PairObjective(PairTerms("simpo", PairOptions(BETA, gamma=gamma)), 3), model, pair_batch(pairs))
    assert_equal((ours, model), (expected, trl_model))


def means_by_trl(trainer, model: nn.Module, pairs: list[Pair]) -> Iterator[Tensor]:
    """(P,) mean log-probabilities of chosen and of rejected answers."""
    inputs = trl_pair_inputs(pairs)
    labels = inputs["input_ids"].masked_fill(inputs.pop("completion_mask") == 0, -100)
    logits = model(**inputs).logits
    return iter(trainer.get_batch_logps(logits, labels, average_log_prob=True).chunk(2))
