"""The stages users train, by the rows each learns from.

A stage is a row here and a file in `train/objectives/`. Knows nothing of losses, and loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

RowKind = Literal["documents", "conversations", "pairs", "verdicts", "prompts"]
"""documents:     text to continue, all of it in the loss
conversations: the answers are in the loss
pairs:         a prompt with a chosen and a rejected answer
verdicts:      a prompt with one answer that was marked good or bad
prompts:       what the model answers by itself, with a reference answer to judge by
"""

Stage = Literal["sft", "pt", "rm", "ppo", "dpo", "kto", "orpo", "simpo", "grpo"]

ROWS_OF_STAGE: Mapping[str, RowKind] = {
    "pt": "documents",
    "sft": "conversations",
    "dpo": "pairs",
    "orpo": "pairs",
    "simpo": "pairs",
    "rm": "pairs",
    "kto": "verdicts",
    "grpo": "prompts",
}

STAGE_OF_ROWS: Mapping[RowKind, str] = {
    "documents": "pt",
    "conversations": "sft",
    "pairs": "dpo (or orpo, simpo, rm)",
    "verdicts": "kto",
    "prompts": "grpo",
}
"""What a message names for rows that another stage learns from."""

REFERENCE_FREE = frozenset({"orpo", "simpo"})
"""Losses of pairs that compare a model with no other one, each a stage by its own name too."""
