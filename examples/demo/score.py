"""Answers of a model to questions about pictures, and how many are right. Through Tunesmith's public API only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import tunesmith
from examples.demo.questions import KINDS, LANGUAGES, Question
from examples.demo.scenes import Scene

LONGEST_ANSWER_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Answered:
    """A question about a scene, and what the model said."""

    scene: Scene
    question: Question
    given: str

    @property
    def is_right(self) -> bool:
        """Whether the answer is the right one, letter by letter."""
        return self.given == self.question.answer


def ask_model(folder: Path, scenes: Sequence[Scene], *, language: str) -> list[Answered]:
    """Every question of `language` about every scene, each asked alone, answered by the model in `folder`."""
    model, processor = tunesmith.load(folder)
    asked = [(scene, LANGUAGES[language](scene)) for scene in scenes]
    answered = []
    for kind in range(len(KINDS)):
        batch = [(scene, questions[kind]) for scene, questions in asked]
        answers = _generate(model, processor, batch)
        answered += [Answered(*pair, given) for pair, given in zip(batch, answers, strict=True)]
    return answered


def accuracy(answered: Sequence[Answered]) -> dict[str, float]:
    """The share of right answers to each kind of question, and to all."""
    shares = {kind: _share_right([each for each in answered if each.question.kind == kind]) for kind in KINDS}
    return {**shares, "all": _share_right(answered)}


def chance(scenes: Sequence[Scene], *, language: str) -> dict[str, float]:
    """What always giving the most frequent answer to each kind of question would get."""
    asked = [question for scene in scenes for question in LANGUAGES[language](scene)]
    shares = {}
    for kind in KINDS:
        answers = Counter(question.answer for question in asked if question.kind == kind)
        shares[kind] = answers.most_common(1)[0][1] / answers.total()
    return {**shares, "all": sum(shares.values()) / len(shares)}


def _share_right(answered: Sequence[Answered]) -> float:
    return sum(each.is_right for each in answered) / len(answered)


def _generate(model: Any, processor: Any, batch: Sequence[tuple[Scene, Question]]) -> list[str]:
    """The likeliest answers (greedy), all in one batch padded on the left."""
    prompts = [
        processor.apply_chat_template(_conversation(question), add_generation_prompt=True, tokenize=False)
        for _, question in batch
    ]
    pictures = [[scene.picture] for scene, _ in batch]
    inputs = processor(text=prompts, images=pictures, padding=True, padding_side="left", return_tensors="pt")
    inputs = inputs.to(model.device)
    with torch.inference_mode():
        output = model.generate(**inputs, do_sample=False, max_new_tokens=LONGEST_ANSWER_TOKENS)
    new = output[:, inputs["input_ids"].shape[1] :]
    return [answer.strip() for answer in processor.batch_decode(new, skip_special_tokens=True)]


def _conversation(question: Question) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]}]
