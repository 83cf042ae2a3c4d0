"""Rows and reference calls that several tests of `data` use."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from tunesmith.chat.message import Conversation, Media, Message, RowSource, Text
from tunesmith.config.data import DataSettings
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


def build_encoder(preprocessor: Preprocessor, **settings: Any) -> Encoder:
    data = DataSettings(**{"cutoff_len": 100_000, **settings})
    return Encoder(preprocessor, build_template(preprocessor, data), data)


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
