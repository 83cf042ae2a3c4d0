"""Pairs and judged answers for the tiny float64 models, as batches of ours and as TRL's trainers are given them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from tests.train.tiny_models import IMAGE_ID, VISION_START_ID, padded, tiny_model
from tunesmith.chat.message import RowSource
from tunesmith.data.batches.answers import find_answers
from tunesmith.data.batches.batch import Batch, build_batch
from tunesmith.models.mode import evaluation_mode
from tunesmith.train.objectives.log_probabilities import TokenLogProbabilities

_IMAGE = [VISION_START_ID, *[IMAGE_ID] * 4]


@dataclass(frozen=True)
class Pair:
    """A prompt with two answers, of ids; `patches` (16, 1176) of the image that the prompt begins with, if any."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    patches: Tensor | None = None


def make_pairs(kind: str, count: int, *, seed: int = 0) -> list[Pair]:
    """Pairs whose prompts and answers differ in length; chosen answers are now shorter, now longer."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(2, 88, (length,), generator=generator).tolist()

    pairs = [Pair(ids(2 + i % 3), ids(1 + (3 * i) % 5), ids(1 + (i + 2) % 4)) for i in range(count)]
    if kind != "qwen2_5_vl":
        return pairs
    patches = [torch.randn(16, 1176, generator=generator, dtype=torch.float64) for _ in pairs]
    return [
        replace(pair, prompt=_IMAGE + pair.prompt, patches=patch) for pair, patch in zip(pairs, patches, strict=True)
    ]


def pair_batch(pairs: Sequence[Pair]) -> Batch:
    """Each answer a padded row of its own: chosen, rejected, chosen, rejected, …"""
    rows = [(pair, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    return _answer_batch(rows)


def judged_batch(pairs: Sequence[Pair], verdicts: Sequence[bool], *, neighbours: Sequence[Pair] | None = None) -> Batch:
    """The chosen answer of each pair with its verdict; the mismatched answer is its neighbour's, else that of the pair
    before."""
    own = _answer_batch([(pair, pair.chosen) for pair in pairs], verdicts=verdicts)
    beside = neighbours or [pairs[index - 1] for index in range(len(pairs))]
    others = [(pair, other.chosen) for pair, other in zip(pairs, beside, strict=True)]
    return replace(own, mismatched=_answer_batch(others))


def trl_pair_inputs(pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """The same pairs as DPOTrainer.compute_loss is given them: all chosen rows, then all rejected ones."""
    rows = [{"prompt_ids": p.prompt, "chosen_ids": p.chosen, "rejected_ids": p.rejected} for p in pairs]
    inputs: dict[str, Tensor] = DataCollatorForPreference(pad_token_id=0)(rows)
    return {**inputs, **_image_inputs([*pairs, *pairs], inputs["input_ids"])}


def trl_judged_inputs(pairs: Sequence[Pair], verdicts: Sequence[bool]) -> dict[str, Tensor]:
    """The same judged answers as KTOTrainer.compute_loss is given them."""
    rows = [
        {
            "prompt_ids": pair.prompt,
            "completion_ids": pair.chosen,
            "KL_completion_ids": pairs[index - 1].chosen,
            "label": verdict,
        }
        for index, (pair, verdict) in enumerate(zip(pairs, verdicts, strict=True))
    ]
    inputs: dict[str, Tensor] = DataCollatorForUnpairedPreference(pad_token_id=0)(rows)
    images = _image_inputs(pairs, inputs["input_ids"])
    if images:
        inputs["KL_mm_token_type_ids"] = (inputs["KL_input_ids"] == IMAGE_ID).long()
    return {**inputs, **images}


def trl_concatenated_inputs(pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """The same pairs as ORPOTrainer and CPOTrainer are given them (text alone: they know no images)."""
    inputs: dict[str, Tensor] = {}
    for side in ("chosen", "rejected"):
        answers = [(pair, getattr(pair, side)) for pair in pairs]
        rows, labels = padded([_row(pair, answer) for pair, answer in answers])
        inputs[f"{side}_input_ids"], inputs[f"{side}_labels"] = rows["input_ids"], labels
        inputs[f"{side}_attention_mask"] = rows["attention_mask"]
    return inputs


def _answer_batch(answers: Sequence[tuple[Pair, list[int]]], *, verdicts: Sequence[bool] | None = None) -> Batch:
    inputs, labels = padded([_row(pair, answer) for pair, answer in answers])
    inputs.update(_image_inputs([pair for pair, _ in answers], inputs["input_ids"]))
    lengths = inputs["attention_mask"].sum(1).tolist()
    width = labels.shape[1]
    ends = [number * width + length - 1 for number, length in enumerate(lengths)]
    sources = [RowSource("pairs.json", number) for number in range(len(answers))]
    batch = build_batch(inputs, labels, sources=sources, num_tokens=sum(lengths))
    return replace(batch, answers=find_answers(batch.labels, ends=ends, verdicts=verdicts))


def _row(pair: Pair, answer: list[int]) -> tuple[Tensor, Tensor]:
    ids = torch.tensor(pair.prompt + answer)
    labels = ids.clone()
    labels[: len(pair.prompt)] = -100
    return ids, labels


def _image_inputs(pairs: Sequence[Pair], input_ids: Tensor) -> dict[str, Tensor]:
    patches = [pair.patches for pair in pairs if pair.patches is not None]
    if not patches:
        return {}
    return {
        "pixel_values": torch.cat(patches),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * len(patches)),
        "mm_token_type_ids": (input_ids == IMAGE_ID).long(),
    }


def other_model(kind: str) -> nn.Module:
    """A reference that differs from `tiny_model(kind)` in every weight."""
    model = tiny_model(kind)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.05)
    return model.requires_grad_(False).eval()


class FixedReference:
    """A model beside the one that learns, as plainly as the protocol allows."""

    description = "a fixed model"

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._log_probabilities = TokenLogProbabilities(1024)

    def log_probabilities(self, model: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad(), evaluation_mode(self.model):
            return self._log_probabilities(self.model, batch)

    def sharing(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """By parameter; nothing for those without."""
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
