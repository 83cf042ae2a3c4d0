"""Faults of older releases of transformers are said, newer ones are silent."""

from __future__ import annotations

import pytest

from tunesmith import log
from tunesmith.models.families.native import warn_of_old_release


@pytest.fixture(autouse=True)
def _nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="tunesmith")
    log.forget_said()


def test_an_old_release_is_named_with_the_one_to_take(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_old_release("minicpmv4_6", version="5.18.1")
    assert "transformers 5.18.1 takes every picture and slice of a batch to be as large as the first" in caplog.text
    assert "pip install -U 'transformers>=5.19'" in caplog.text


@pytest.mark.parametrize(
    ("model_type", "version"), [("minicpmv4_6", "5.19.0"), ("minicpmv4_6", "6.0.dev0"), ("qwen2", "5.17.0")]
)
def test_what_is_mended_or_was_never_broken_is_not(
    model_type: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_old_release(model_type, version=version)
    assert caplog.text == ""
