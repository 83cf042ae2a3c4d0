"""What `packing` means where it is set, and where it is left out."""

from __future__ import annotations

import pytest

from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings


@pytest.mark.parametrize(
    ("stage", "words", "packs"),
    [
        ("sft", {}, False),
        ("sft", {"packing": True}, True),
        ("sft", {"neat_packing": True}, True),
        ("dpo", {}, False),
        ("pt", {}, True),
        ("pt", {"packing": False}, False),
        ("pt", {"packing": False, "neat_packing": True}, True),
        ("pt", {"batch_tokens": 4096}, False),
        ("pt", {"group_by_length": True}, False),
        ("pt", {"group_by_length": True, "packing": True}, True),
    ],
)
def test_documents_are_packed_unless_another_key_says_what_a_micro_batch_is(
    stage: str, words: dict[str, object], packs: bool
) -> None:
    settings = Settings(
        data=DataSettings.model_validate(words), training=TrainingSettings.model_validate({"stage": stage})
    )
    assert settings.packs is packs
