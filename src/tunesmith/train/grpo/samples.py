"""A few drawn answers with their rewards, for samples.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.train.grpo.judge import Judge

_NUM_SHOWN = 4


def sample_lines(judge: Judge, *, step: int) -> Iterator[dict[str, Any]]:
    """The first answers of the last drawing, which are to one prompt or a few, as lines of samples.jsonl."""
    for index, answer in enumerate(judge.answers[:_NUM_SHOWN]):
        yield {
            "step": step,
            "source": str(answer.conversation.source),
            "prompt": answer.prompt,
            "images": [media.name for media in answer.conversation.media()],
            "answer": answer.text,
            "reference": answer.reference,
            "reward": judge.total(index),
            "rewards": {name: scores[index] for name, scores in judge.scores.items()},
        }
