"""The loss of reward models equals TRL 1.16's RewardTrainer on the same batch: value and gradients, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from tests.train.objectives.pairs import Pair, make_pairs, pair_batch
from tests.train.objectives.trl_trainers import number_tokenizer
from tests.train.tiny_models import padded, tiny_model
from tunesmith.models.score_head import attach_score_head
from tunesmith.train.objectives.reward import RewardObjective


def scoring_model(kind: str) -> Any:
    model = tiny_model(kind)
    attach_score_head(model, seed=3)
    return model


def as_classifier(model: Any) -> nn.Module:
    """The same weights in transformers' own class."""
    config = type(model.config).from_dict({**model.config.to_dict(), "id2label": {0: "LABEL_0"}})
    classifier = AutoModelForSequenceClassification.from_config(config).double()
    weights = {name: weight for name, weight in model.state_dict().items() if not name.startswith("lm_head")}
    classifier.load_state_dict(weights)
    return classifier.train()


def trl_inputs(pairs: list[Pair]) -> dict[str, Tensor]:
    """All chosen rows, then all rejected ones, as RewardTrainer's collator has them."""
    answers = [(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs]
    rows = [torch.tensor(prompt + answer) for prompt, answer in answers]
    inputs, _ = padded([(ids, ids) for ids in rows])
    return inputs


def trainer(folder: Path, model: nn.Module) -> RewardTrainer:
    arguments = RewardConfig(str(folder), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False)
    rows = Dataset.from_list([{"chosen": "5 6 7", "rejected": "5 6 8"}])
    return RewardTrainer(model, arguments, train_dataset=rows, processing_class=number_tokenizer())


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_tied", "gemma2", "gemma3_text", "phi"])
def test_it_is_trls_loss(kind: str, tmp_path: Path) -> None:
    pairs = make_pairs(kind, 5)
    ours = scoring_model(kind)
    theirs = as_classifier(ours)
    batch, objective = pair_batch(pairs), RewardObjective()

    found = objective.loss(ours, batch, means=None)
    (found.loss_sum / objective.num_terms(batch)).backward()
    trl = trainer(tmp_path, theirs)
    expected = trl.compute_loss(theirs, trl_inputs(pairs))
    expected.backward()

    assert found.loss_sum.item() / 5 == pytest.approx(expected.item(), rel=1e-12)
    precision = 1e-5 if kind.startswith("gemma") else 1e-12  # Gemma's norms compute in float32
    gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, weight in ours.named_parameters():
        if not name.startswith("lm_head"):
            torch.testing.assert_close(weight.grad, gradients[name], rtol=0, atol=precision * largest)
    metrics = {name: (metric.total / metric.count).item() for name, metric in found.metrics.items()}
    assert metrics["rewards/margins"] == pytest.approx(trl._metrics["train"]["margin"][0], rel=1e-6)
    assert metrics["rewards/accuracies"] == pytest.approx(trl._metrics["train"]["accuracy"][0])
    assert metrics["rewards/chosen"] - metrics["rewards/rejected"] == pytest.approx(metrics["rewards/margins"])


def test_images_count_and_no_logits_are_made() -> None:
    pairs = make_pairs("qwen2_5_vl", 2)
    model, batch, objective = scoring_model("qwen2_5_vl"), pair_batch(pairs), RewardObjective()
    made = []
    model.lm_head.register_forward_hook(lambda _, __, logits: made.append(logits.shape[1]))

    loss = objective.loss(model, batch, means=None).loss_sum
    scores = [
        model.score(model.model(**pair_batch([pair]).inputs).last_hidden_state)[row, len(pair.prompt + answer) - 1, 0]
        for pair in pairs
        for row, answer in enumerate((pair.chosen, pair.rejected))
    ]
    chosen, rejected = torch.stack(scores).view(2, 2).unbind(1)

    assert loss.item() == pytest.approx(-nn.functional.logsigmoid(chosen - rejected).sum().item(), rel=1e-10)
    assert made == [1]
    loss.backward()
    assert model.model.visual.patch_embed.proj.weight.grad.abs().sum() > 0
    assert model.lm_head.weight.grad is None
