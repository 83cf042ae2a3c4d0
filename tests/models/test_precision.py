from __future__ import annotations

import pytest
import torch

from tests.models.given import settings_for
from tunesmith.errors import UsageError
from tunesmith.models.precision import Precision, choose_precision


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, Precision(torch.float32, torch.float32, None, scaler=False)),
        ({"bf16": True}, Precision(torch.bfloat16, torch.float32, torch.bfloat16, scaler=False)),
        ({"fp16": True}, Precision(torch.float16, torch.float32, torch.float16, scaler=True)),
        ({"pure_bf16": True}, Precision(torch.bfloat16, torch.bfloat16, None, scaler=False)),
        ({"bf16": True, "pure_bf16": True}, Precision(torch.bfloat16, torch.bfloat16, None, scaler=False)),
    ],
)
def test_formats_of_each_setting(training: dict[str, bool], expected: Precision) -> None:
    assert choose_precision(settings_for("any", training=training)) == expected


def test_what_matrices_are_multiplied_in() -> None:
    assert choose_precision(settings_for("any", training={"bf16": True})).compute == torch.bfloat16
    assert choose_precision(settings_for("any", training={"pure_bf16": True})).compute == torch.bfloat16
    assert choose_precision(settings_for("any")).compute == torch.float32


def test_contradicting_settings() -> None:
    with pytest.raises(UsageError, match="fp16 and bf16"):
        choose_precision(settings_for("any", training={"fp16": True, "bf16": True}))
