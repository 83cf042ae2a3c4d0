"""Rows and reference calls that several tests of `data` use."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from tunesmith.chat.message import Conversation, Media, Message, RowSource, Text
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.models.preprocessing.processor import Preprocessor


def picture(width: int, height: int, *, seed: int = 0) -> Media:
    """A PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Media("image", file.getvalue())


def opened(media: Media) -> Image.Image:
    assert isinstance(media.source, bytes)
    return Image.open(io.BytesIO(media.source)).convert("RGB")


def user(*parts: str | Media) -> Message:
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def assistant(text: str, **options: Any) -> Message:
    return Message("assistant", (Text(text),), **options)


def conversation(*messages: Message, row: int = 0) -> Conversation:
    return Conversation(messages, source=RowSource("rows.json", row))


def document(*parts: str | Media, row: int = 0) -> Conversation:
    message = Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))
    return Conversation((message,), source=RowSource("rows.json", row))


def pair(*prompt: Message, chosen: str | Message, rejected: str | Message, row: int = 0) -> Conversation:
    """A prompt with two answers."""
    answers = [assistant(answer) if isinstance(answer, str) else answer for answer in (chosen, rejected)]
    return replace(conversation(*prompt, answers[0], row=row), other_answer=answers[1])


def apart(row: Conversation) -> tuple[Conversation, Conversation]:
    """The two rows that a pair is when its answers stand apart."""
    return replace(row, other_answer=None), row.with_other_answer


def build_encoder(preprocessor: Preprocessor, rows: RowKind = "conversations", **settings: Any) -> Encoder:
    data = DataSettings(**{"cutoff_len": 100_000, **settings})
    return Encoder(preprocessor, build_template(preprocessor, data, rows), data, rows)


def supervised_text(preprocessor: Preprocessor, encoded: Encoded) -> str:
    return str(preprocessor.tokenizer.decode(encoded.labels[encoded.labels != IGNORED]))


def as_transformers(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The messages as `apply_chat_template` takes them, pictures opened."""
    return [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, Text)
                else {"type": "image", "image": opened(part)}
                for part in message.parts
            ]
            if any(isinstance(part, Media) for part in message.parts)
            else message.text,
        }
        for message in messages
    ]


def own_ids(preprocessor: Preprocessor, row: Conversation) -> list[int]:
    """What transformers' own `apply_chat_template` makes of `row`."""
    messages = as_transformers(row.messages)
    tools = list(row.tools) or None
    if preprocessor.processor is None:
        return list(preprocessor.tokenizer.apply_chat_template(messages, tools=tools, return_dict=False))
    outputs = preprocessor.processor.apply_chat_template(
        messages, tools=tools, tokenize=True, return_dict=True, return_tensors="pt"
    )
    return list(outputs["input_ids"][0].tolist())


def without_added_end(preprocessor: Preprocessor, ids: np.ndarray, own: list[int]) -> list[int]:
    """`ids` without the eos token that is added where a template writes no end after the last answer."""
    return (
        ids[:-1].tolist()
        if len(ids) == len(own) + 1 and ids[-1] == preprocessor.tokenizer.eos_token_id
        else ids.tolist()
    )
