"""Which token ends an answer: the one a trained answer ends with, read off a rendered example.

So training and chat cannot disagree about it, whatever the template.
"""

from __future__ import annotations

from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.chat.render import render_conversation
from tunesmith.chat.template import ChatTemplate
from tunesmith.data.encoding.spans import tokens_in
from tunesmith.data.encoding.tokenize import TextTokenizer
from tunesmith.models.preprocessing.processor import Preprocessor

_PROBE = Conversation(
    messages=(
        Message(role="user", parts=(Text("a"),)),
        Message(role="assistant", parts=(Text("b"),)),
    )
)


def end_of_turn_id(preprocessor: Preprocessor, template: ChatTemplate) -> int:
    """The last supervised id of an assistant turn: the template's end-of-turn token, or the tokenizer's eos."""
    rendered = render_conversation(template, _PROBE)
    tokens = TextTokenizer(preprocessor).encode(rendered.text, literal=rendered.literal)
    return int(tokens.ids[tokens_in(tokens.offsets, rendered.supervised)][-1])
