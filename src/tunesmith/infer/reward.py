"""Scores of conversations by a trained reward model: how good the last answer of each is.

Encodes as training does. Scores are comparable between answers to one question; where zero lies means nothing. Knows
nothing of what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from tunesmith.chat.message import Conversation, Media
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.errors import ModelError
from tunesmith.infer.open import build_encoder, open_preprocessor, open_weights
from tunesmith.infer.source import ModelSource, find_source
from tunesmith.models.score_head import score_head, scores_at

_BATCH = 8


@dataclass(frozen=True, slots=True)
class RewardModel:
    """model: in evaluation mode, with a score head."""

    model: PreTrainedModel | PeftModel
    encoder: Encoder
    collator: Collator

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        adapters: Sequence[str] = (),
        quantization_bit: int | None = None,
        use_cpu: bool = False,
        template: str | None = None,
    ) -> Self:
        """The reward model in a run folder, a model or an adapter, or that a hub repository holds.

        adapters: put on it, the last one unmerged
        template: None takes the run's, or else the model's own

        Raises ModelError where nothing in it gives scores, UsageError where it has no chat template.
        """
        given = {
            "adapter_name_or_path": ",".join(adapters),
            "quantization_bit": quantization_bit,
            "template": template,
            "use_cpu": use_cpu or None,
        }
        overrides = [f"{key}={value}" for key, value in given.items() if value]
        return cls._open(_source(str(name), overrides, plain=bool(adapters)))

    @classmethod
    def _open(cls, source: ModelSource) -> Self:
        preprocessor = open_preprocessor(source)
        encoder = build_encoder(source.settings, preprocessor)
        model = open_weights(source)
        if score_head(model) is None:
            raise ModelError(
                f"{source} is no reward model: it has no score head, which stage: rm trains; give the folder of such a "
                "run, or of a model for sequence classification"
            )
        return cls(model, encoder, Collator(preprocessor, MediaInputs(preprocessor), packed=False))

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """The score of each conversation, which ends with the answer to judge.

        Raises RowError for a conversation that cannot be encoded, DataError for media that cannot be read.
        """
        encoded = [self.encoder.encode(conversation) for conversation in conversations]
        batches = [encoded[start : start + _BATCH] for start in range(0, len(encoded), _BATCH)]
        return [score for batch in batches for score in self._scores(batch)]

    @torch.no_grad()
    def _scores(self, examples: Sequence[Encoded]) -> list[float]:
        media = [[item for item in example.media if isinstance(item, Media)] for example in examples]
        batch = self.collator(examples, media).to(self.model.device)
        scored: list[float] = scores_at(self.model, batch.inputs, _ends(batch.labels, examples)).tolist()
        return scored


def _source(name: str, overrides: Sequence[str], *, plain: bool) -> ModelSource:
    """plain: `name` is the model that adapters are put on, whatever else its folder holds."""
    folder = Path(name).expanduser()
    if folder.is_dir() and not plain:
        return find_source(folder, overrides)
    return find_source(None, [f"model_name_or_path={name}", *overrides])


def _ends(rows: Tensor, examples: Sequence[Encoded]) -> Tensor:
    """(B,) flat position of the last token of each row of (B, T), which are padded on the right."""
    starts = torch.arange(len(examples)) * rows.shape[1]
    return (starts + torch.tensor([len(example) - 1 for example in examples])).to(rows.device)
