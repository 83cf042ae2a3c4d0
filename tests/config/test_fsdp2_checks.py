"""What does not go with weights that are cut over the processes."""

from __future__ import annotations

import pytest

from tunesmith.config.fsdp2_checks import check_fsdp2
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.resolve import Values, resolve


def _values(words: str) -> Values:
    return resolve([], parse_overrides(words.split()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("parallel=fsdp2 optim=adamw_8bit", "works on whole weights, and fsdp2 cuts them; use adamw_torch"),
        ("parallel=fsdp2 optim=paged_adamw_32bit", "works on whole weights, and fsdp2 cuts them; use adamw_torch"),
        ("parallel=fsdp2 optim=adafactor", "works on whole weights, and fsdp2 cuts them; use adamw_torch"),
        ("parallel=fsdp2 stage=grpo", "stage grpo does not train with fsdp2 yet; use parallel: ddp"),
        ("parallel=fsdp2 stage=dpo finetuning_type=full precompute_ref=false", "set precompute_ref: true"),
        ("parallel=fsdp2 stage=kto finetuning_type=freeze precompute_ref=false", "set precompute_ref: true"),
    ],
)
def test_what_fsdp2_cannot_do(words: str, message: str) -> None:
    (found,) = check_fsdp2(_values(words))
    assert message in found


@pytest.mark.parametrize(
    "words",
    [
        "parallel=ddp optim=adamw_8bit",
        "parallel=fsdp2 optim=adamw_torch_fused",
        "parallel=fsdp2 stage=dpo finetuning_type=full",
        "parallel=fsdp2 stage=dpo finetuning_type=lora precompute_ref=false",
        "parallel=fsdp2 stage=dpo finetuning_type=full precompute_ref=false ref_model=base",
        "parallel=fsdp2 stage=dpo pref_loss=orpo finetuning_type=full precompute_ref=false",
    ],
)
def test_what_goes_with_it(words: str) -> None:
    assert list(check_fsdp2(_values(words))) == []
