"""TRL's own trainers around tiny models, so that their losses can be asked for on a batch of ours.

The rows they are built with are words that are ids. TRL's kernel for log-probabilities rounds to float32 whatever it is
given, and so does its odds ratio: `exact` lets both keep float64, and rotations of models too, for some releases of
transformers multiply what was cast there by what was not. Everything else of TRL runs as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from tests.train.objectives.pairs import Pair
from tests.train.tiny_models import VOCAB

_OPTIONS = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "disable_tqdm": True,
    "max_length": 64,
}
_ANY_PAIRS = [Pair([5, 6], [7], [8]), Pair([5, 6], [8], [9])]


def dpo_trainer(folder: Path, model: nn.Module, reference: nn.Module | None, **options: Any) -> DPOTrainer:
    """`options`: of DPOConfig, and `pairs` to train on."""
    pairs = options.pop("pairs", _ANY_PAIRS)
    arguments = DPOConfig(output_dir=str(folder), **{**_OPTIONS, **options})
    return DPOTrainer(
        model, reference, arguments, train_dataset=Dataset.from_list(_rows(pairs)), processing_class=number_tokenizer()
    )


def kto_trainer(folder: Path, model: nn.Module, reference: nn.Module, **options: Any) -> KTOTrainer:
    """`options`: of KTOConfig."""
    arguments = KTOConfig(output_dir=str(folder), **{**_OPTIONS, "per_device_train_batch_size": 2, **options})
    rows = [{"prompt": "5 6", "completion": " 7", "label": label} for label in (True, False)]
    return KTOTrainer(
        model, reference, arguments, train_dataset=Dataset.from_list(rows), processing_class=number_tokenizer()
    )


def orpo_trainer(folder: Path, model: nn.Module, **options: Any) -> ORPOTrainer:
    """`options`: of ORPOConfig."""
    arguments = ORPOConfig(output_dir=str(folder), remove_unused_columns=False, **{**_OPTIONS, **options})
    return ORPOTrainer(
        model, arguments, train_dataset=Dataset.from_list(_rows(_ANY_PAIRS)), processing_class=number_tokenizer()
    )


def cpo_trainer(folder: Path, model: nn.Module, **options: Any) -> CPOTrainer:
    """`options`: of CPOConfig."""
    arguments = CPOConfig(output_dir=str(folder), remove_unused_columns=False, **{**_OPTIONS, **options})
    return CPOTrainer(
        model, arguments, train_dataset=Dataset.from_list(_rows(_ANY_PAIRS)), processing_class=number_tokenizer()
    )


class _ExactLogProbabilities:
    """In place of TRL's kernel: called as it is, and returning log-probabilities and what it returns beside them."""

    @staticmethod
    def apply(
        hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, *_: Any
    ) -> tuple[Tensor, ...]:
        logits = nn.functional.linear(hidden_NH, weight_VH, bias_V)
        log_probs = logits.log_softmax(-1).gather(-1, targets_N[:, None])[:, 0]
        unused = torch.zeros_like(log_probs).detach()
        return log_probs, unused, unused, unused, unused.bool()


@contextmanager
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """TRL in float64 throughout."""
    monkeypatch.setattr("trl.trainer.utils._ChunkedLogProbFunction", _ExactLogProbabilities)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _rows(pairs: Sequence[Pair]) -> list[dict[str, str]]:
    def words(ids: list[int]) -> str:
        return " ".join(map(str, ids))

    return [
        {"prompt": words(p.prompt), "chosen": f" {words(p.chosen)}", "rejected": f" {words(p.rejected)}"} for p in pairs
    ]


def number_tokenizer() -> PreTrainedTokenizerFast:
    """The word "7" is the id 7; 0 pads, 1 ends a text."""
    vocab = {"<pad>": 0, "<eos>": 1, **{str(number): number for number in range(2, VOCAB)}}
    words = Tokenizer(WordLevel(vocab, unk_token="<pad>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
