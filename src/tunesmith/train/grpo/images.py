"""Prompts with images in the form TRL takes: messages of parts, each image in its place.

TRL makes ids and pixels of them by the model's own processor, once to draw and once to learn. Knows nothing of TRL.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers import ProcessorMixin

from tunesmith.chat.content import template_messages
from tunesmith.chat.template import ChatTemplate, TemplateMessage
from tunesmith.data.encoding.loaded_media import load_image
from tunesmith.models.preprocessing.processor import Preprocessor
from tunesmith.train.grpo.prompts import Prompt

_NUMBER = "prompt_number"
"""Key of the first message that says which prompt it begins; templates do not look at it."""


def ask_with_images(
    prompt: Prompt, *, number: int, template: ChatTemplate, preprocessor: Preprocessor
) -> list[TemplateMessage]:
    """The prompt as messages with its images loaded, shrunk as training shrinks them. Raises DataError."""
    messages = template_messages(prompt.conversation, template=template)
    media = prompt.conversation.media()
    for message in messages:
        parts = message["content"] if isinstance(message["content"], list) else []
        for part in parts:
            if part["type"] == "image":
                part["image"] = load_image(next(media), preprocessor)
    messages[0][_NUMBER] = number
    return messages


def number_of(prompt: str | list[TemplateMessage]) -> int:
    """Which prompt TRL was given: a number written out, or messages."""
    return int(prompt) if isinstance(prompt, str) else int(prompt[0][_NUMBER])


def processor_for(template: ChatTemplate, preprocessor: Preprocessor) -> ProcessorMixin:
    """A copy of the model's processor that renders by `template` and pads on the left, where answers are drawn from."""
    processor: Any = copy.deepcopy(preprocessor.processor)
    assert isinstance(processor, ProcessorMixin)
    processor.chat_template = template.source
    processor.tokenizer.padding_side = "left"
    return processor
