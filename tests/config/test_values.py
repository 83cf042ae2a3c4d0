"""One value against its field."""

from __future__ import annotations

import pytest

from tunesmith.config.fields import FIELDS
from tunesmith.config.given import Given
from tunesmith.config.values import read_value
from tunesmith.config.yaml_values import parse_value


def _read(key: str, text: str) -> object:
    value = parse_value(text)
    return read_value(Given(key=key, value=value, text=None if value is None else text, place="here"), FIELDS[key])


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lora_rank", "16", 16),
        ("lora_rank", "1e1", 10),
        ("seed", "010", 10),
        ("seed", "1_000", 1000),
        ("learning_rate", "1", 1),
        ("bf16", "yes", True),
        ("bf16", "0", False),
        ("eval_strategy", "no", "no"),
        ("save_strategy", "no", "no"),
        ("eval_strategy", "none", None),
        ("lora_bias", "none", "none"),
        ("quantization_bit", "4", 4),
        ("quantization_bit", "None", None),
        ("model_revision", "1.10", "1.10"),
        ("run_name", "2024-01-01", "2024-01-01"),
        ("max_samples", "null", None),
        ("seed", "null", 42),  # not nullable: as if left out
        ("dataset", "123", "123"),
        ("resume_from_checkpoint", "true", "true"),  # its section makes it a flag
    ],
)
def test_a_value_is_read_as_its_field_means_it(key: str, text: str, value: object) -> None:
    assert _read(key, text) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("lora_rank", "eight"),
        ("lora_rank", "2.5"),
        ("lora_rank", "0"),
        ("lora_rank", "true"),
        ("lora_rank", "1:30"),
        ("lora_dropout", "1"),
        ("learning_rate", "-1e-4"),
        ("learning_rate", "nan"),
        ("learning_rate", ".inf"),
        ("warmup_ratio", "1.1"),
        ("bf16", "maybe"),
        ("bf16", "2"),
        ("quantization_bit", "3"),
        ("flash_attn", "flash"),
        ("output_dir", "{a: 1}"),
        ("seed", "[1]"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(key: str, text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        _read(key, text)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("lora_rank", "a whole number above 0"),
        ("lora_dropout", "a number from 0 below 1"),
        ("warmup_ratio", "a number from 0 up to 1"),
        ("bf16", "true or false"),
        ("quantization_bit", "one of 4, 8"),
        ("overlong", "one of truncate, drop, error"),
    ],
)
def test_a_field_says_what_it_expects(key: str, expected: str) -> None:
    assert FIELDS[key].expected == expected
