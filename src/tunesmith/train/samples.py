"""Questions asked while training (`sample_prompts`), answered by the model as it is, written to samples.jsonl.

The idea is XTuner's. A question that fails warns and is left out; no run stops over one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith import env, log
from tunesmith.chat.message import Conversation, Media, Message, RowSource, Text
from tunesmith.config.settings import Settings
from tunesmith.data.encoding.encode import Encoder
from tunesmith.errors import UsageError
from tunesmith.infer.engine import Engine, SamplingOptions
from tunesmith.infer.live import answering
from tunesmith.infer.transformers_engine import TransformersEngine
from tunesmith.models.preprocessing.processor import Preprocessor
from tunesmith.train.folder.json_lines import append_line
from tunesmith.train.setup import Model

_FIELDS = {"prompt", "image", "images", "system"}


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt, with the images before its text."""

    prompt: str
    images: tuple[str, ...] = ()
    system: str | None = None

    @property
    def conversation(self) -> Conversation:
        """What the model is asked."""
        images = tuple(Media("image", image) for image in self.images)
        asked = Message("user", (*images, Text(self.prompt)))
        system = (Message("system", (Text(self.system),)),) if self.system else ()
        return Conversation((*system, asked), source=RowSource("sample_prompts", 0))


def parse_questions(prompts: Sequence[str | Mapping[str, Any]]) -> tuple[Question, ...]:
    """`sample_prompts` as questions. Raises UsageError for entries of another form."""
    return tuple(_parse(entry) for entry in prompts)


def _parse(entry: str | Mapping[str, Any]) -> Question:
    if isinstance(entry, str):
        return Question(entry)
    if not isinstance(entry.get("prompt"), str) or entry.keys() - _FIELDS:
        raise UsageError(f"sample_prompts: {dict(entry)} is neither text nor {{prompt, image or images, system}}")
    images = entry.get("images", entry.get("image", ()))
    return Question(
        entry["prompt"], (images,) if isinstance(images, str) else tuple(map(str, images)), entry.get("system")
    )


@dataclass(slots=True)
class Sampler:
    """Asks `questions` of the model in training. Answers are greedy, so that they differ by the training alone."""

    engine: Engine
    model: nn.Module
    questions: tuple[Question, ...]
    options: SamplingOptions
    autocast: Callable[[], AbstractContextManager[object]]
    file: Path
    _failed: set[str] = field(default_factory=set, init=False)

    def ask(self, step: int) -> None:
        """Ask every question once; the model's mode and all random states are afterwards as before."""
        with answering(self.model), self.autocast():
            for question in self.questions:
                self._ask(question, step)

    def _ask(self, question: Question, step: int) -> None:
        started = time.perf_counter()
        try:
            answer = self.engine.answer(question.conversation, self.options)
        except Exception as error:  # noqa: BLE001  whatever a question does, the training goes on
            reason = f"{type(error).__name__}: {error}"
            if reason not in self._failed:
                self._failed.add(reason)
                log.warning(f"the question {question.prompt!r} could not be answered at step {step}: {reason}")
            return
        if env.rank() != 0:  # where all processes answer, they answer alike
            return
        append_line(
            self.file,
            {
                "step": step,
                "prompt": question.prompt,
                "images": list(question.images),
                "system": question.system,
                "answer": answer,
                "seconds": round(time.perf_counter() - started, 3),
            },
        )


def build_sampler(
    model: Model,
    settings: Settings,
    *,
    preprocessor: Preprocessor,
    encoder: Encoder,
    autocast: Callable[[], AbstractContextManager[object]],
    file: Path,
) -> Sampler | None:
    """The sampler of a run; None where it asks nothing."""
    questions = parse_questions(settings.training.sample_prompts)
    if not questions:
        return None
    options = settings.generation.model_copy(
        update={"do_sample": False, "max_new_tokens": settings.training.sample_max_new_tokens}
    )
    engine = TransformersEngine(model, preprocessor, encoder)
    return Sampler(engine, model, questions, options, autocast, file)
