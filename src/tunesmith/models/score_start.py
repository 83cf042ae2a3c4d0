"""What a model needs before it can learn to score: a head, and in its config the padding token.

Knows nothing of pairs or losses.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from tunesmith.config.settings import Settings
from tunesmith.models.score_head import attach_score_head, score_head
from tunesmith.models.vocabulary import read_tokenizer


def start_score_head(model: PreTrainedModel, folder: Path, settings: Settings) -> None:
    """For stage rm: a new head where the model's `folder` has none, and padding where its config names none.

    By the padding transformers' classification classes find the end of a text.
    """
    if settings.training.stage != "rm":
        return
    if score_head(model) is None:
        attach_score_head(model, seed=settings.training.seed)
    config = model.config.get_text_config()
    if config.to_dict().get("pad_token_id") is None:
        config.pad_token_id = read_tokenizer(folder).pad_token_id
