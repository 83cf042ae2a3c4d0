"""Ten steps of the loop's step equal a plain PyTorch loop, written out here with full logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.train.batches import make_batch, make_rows, make_stepper, tuned_model


def plain_loop(model, steps):
    """What anybody would write: full logits, mean cross-entropy over the step, clip, AdamW, cosine."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    losses = []
    for batch in steps:
        logits = model(**batch.inputs).logits[:, :-1]
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("chunk_tokens", [3, 1024])
@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_ten_steps_follow_a_plain_loop(kind, tuning, chunk_tokens):
    rows = make_rows(kind, 30)
    steps = [make_batch(rows[start : start + 3]) for start in range(0, 30, 3)]
    plain = tuned_model(kind, tuning)
    expected = plain_loop(plain, steps)

    stepper = make_stepper(tuned_model(kind, tuning), chunk_tokens=chunk_tokens)
    outcomes = [stepper.take([batch]) for batch in steps]

    losses = [outcome.loss_sum / outcome.num_terms for outcome in outcomes]
    assert losses == pytest.approx(expected, rel=1e-10)
    trained = dict(stepper.forward.model.named_parameters())
    for name, weight in plain.named_parameters():
        torch.testing.assert_close(trained[name], weight, rtol=1e-10, atol=1e-10)
