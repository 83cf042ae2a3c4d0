"""One row → ids, labels and references to media: rendered, expanded, tokenised, cut to cutoff_len.

What a row is depends on what the stage learns from (config/stages.py); each kind has a module. Knows nothing of files,
batches or pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

from tunesmith.chat.bundled import load_bundled
from tunesmith.chat.document import DocumentForm
from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.chat.render import Rendered, render_prompt
from tunesmith.chat.template import ChatTemplate
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.encoding.answers import trace_answers
from tunesmith.data.encoding.document import trace_document
from tunesmith.data.encoding.document_form import document_beginning, learn_document_form
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.encoder_key import encoder_key
from tunesmith.data.encoding.steps import EncodingSteps
from tunesmith.data.encoding.trace import Trace
from tunesmith.data.encoding.turns import trace_conversation, trace_prompt
from tunesmith.errors import UsageError
from tunesmith.models.preprocessing.processor import Preprocessor


class Encoder:
    """Encodes rows for one model, one set of data settings and what the stage learns from."""

    def __init__(
        self, preprocessor: Preprocessor, template: ChatTemplate, data: DataSettings, rows: RowKind = "conversations"
    ) -> None:
        """Raises UsageError for settings that rows of the kind `rows` cannot be encoded with."""
        if rows in ("pairs", "verdicts") and data.train_on_prompt:
            raise UsageError(
                "train_on_prompt: true does not fit a stage that compares answers, as only they are in its loss; leave "
                "it out, or train with stage: sft"
            )
        self.template = template
        self.preprocessor = preprocessor
        self.rows = rows
        self._data = data
        self._steps = EncodingSteps(preprocessor)

    @cached_property
    def key(self) -> str:
        """What the encoding cache calls this way of encoding."""
        return encoder_key(self.preprocessor, self.template, self._data, self.rows)

    @cached_property
    def _form(self) -> DocumentForm:
        return learn_document_form(self.preprocessor, self.template)

    def encode(self, conversation: Conversation) -> Encoded:
        """The example of a conversation.

        Raises RowTooLongError where it is left out for its length, RowError where it cannot be used.
        """
        return self.trace(conversation).encoded

    def trace(self, conversation: Conversation) -> Trace:
        """As `encode`, with the result of every step."""
        if self.rows == "documents":
            return trace_document(conversation, steps=self._steps, form=self._form, data=self._data)
        trace = _TRACE_OF[self.rows]
        return trace(self._with_system(conversation), steps=self._steps, template=self.template, data=self._data)

    def encode_prompt(self, conversation: Conversation) -> Encoded:
        """What a model is given to answer `conversation`: nothing in the loss, nothing cut. Raises RowError."""

        def render(conversation: Conversation) -> Rendered:
            return render_prompt(self.template, conversation)

        prompt = self._with_system(conversation)
        return self._steps.encoded(self._steps.take(prompt, render=render, probe=self._steps.probe()), truncated=False)

    def _with_system(self, conversation: Conversation) -> Conversation:
        default = self._data.default_system
        if default is None or any(message.role == "system" for message in conversation.messages):
            return conversation
        system = Message(role="system", parts=(Text(default),))
        return replace(conversation, messages=(system, *conversation.messages))


_TRACE_OF: Mapping[RowKind, Callable[..., Trace]] = {
    "conversations": trace_conversation,
    "pairs": trace_answers,
    "verdicts": trace_answers,
    "prompts": trace_prompt,
}


_TEXT_ALONE = (
    "{{ beginning }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
"""What documents are to a model without a chat template: nothing but their text."""


def build_template(preprocessor: Preprocessor, data: DataSettings, rows: RowKind = "conversations") -> ChatTemplate:
    """The bundled template that `template:` names, or the model's own, given what the model was published for.

    Raises UsageError if the model has none and none is named, but for documents, which need none.
    """
    options = dict(preprocessor.template_options)
    if data.enable_thinking is not None:
        options["enable_thinking"] = data.enable_thinking
    if data.template is not None:
        source = load_bundled(data.template)
        return ChatTemplate(
            source, special_tokens=preprocessor.special_tokens, name=f"template: {data.template}", options=options
        )
    if preprocessor.chat_template is None and rows == "documents":
        options["beginning"] = document_beginning(preprocessor)
        return ChatTemplate(_TEXT_ALONE, special_tokens=preprocessor.special_tokens, name="text alone", options=options)
    if preprocessor.chat_template is None:
        raise UsageError("this model has no chat template of its own; name one, for example `template: chatml`")
    return ChatTemplate(preprocessor.chat_template, special_tokens=preprocessor.special_tokens, options=options)
