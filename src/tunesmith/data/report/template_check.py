"""Whether a chat template fits a model: its words are the tokenizer's tokens, and it writes what the model's own does.
Of documents, which have none, whether their text survives the tokenizer.

Tried on a few conversations. Opens no media and reads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tunesmith.chat.marks import Span
from tunesmith.chat.message import Conversation, Message, RowSource, Text
from tunesmith.chat.render import Rendered, render_conversation, render_prompt
from tunesmith.chat.template import ChatTemplate
from tunesmith.data.encoding.tokenize import TextTokenizer
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

_LOOKS_LIKE_A_TOKEN = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</?s>|<(?:start|end)_of_\w{1,20}>|<e?o[st]>"
)
_NUM_SHOWN = 48
"""Characters shown on each side of the first difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which two texts differ, with what stands before it, in the row at `source`."""

    source: RowSource
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class TemplateCheck:
    """What was found out by rendering `num_tried` conversations.

    name:       how messages call the template
    broken:     words of the template that look like one token, and are several for this tokenizer
    not_own:    where the text differs from what the model's own template writes; None if it does not, or has none
    num_not_own: conversations in which it differs
    only_system: whether the difference is gone once a conversation has a system message of its own
    has_own:    whether the model has a chat template of its own
    not_back:   where the ids do not read back as the text; None if all do
    """

    name: str
    num_tried: int = 0
    broken: tuple[str, ...] = ()
    not_own: Difference | None = None
    num_not_own: int = 0
    only_system: bool = False
    not_back: Difference | None = None
    has_own: bool = False

    @property
    def equals_own(self) -> bool:
        """Whether it writes what the model's own does, or is that one."""
        return self.has_own and self.not_own is None


def check_template(
    template: ChatTemplate, preprocessor: Preprocessor, conversations: Sequence[Conversation]
) -> TemplateCheck:
    """Try `template` on `conversations`, with each of a pair's answers; those that it cannot render are left out."""
    rows = [row for conversation in conversations for row in _alone(conversation)]
    tried = [(row, rendered) for row in rows if (rendered := _render(template, row)) is not None]
    own = _own_template(template, preprocessor)
    differences = [] if own is None else list(_differences_from(own, tried))
    texts = ((row, rendered.text, rendered.literal) for row, rendered in tried)
    return TemplateCheck(
        name=template.name,
        num_tried=len(tried),
        broken=_broken_words(tried, preprocessor),
        not_own=next(iter(differences), None),
        num_not_own=len(differences),
        only_system=own is not None and not any(_differences_from(own, _with_system(tried, template))),
        not_back=next(_not_read_back(texts, preprocessor), None),
        has_own=preprocessor.chat_template is not None,
    )


def check_documents(preprocessor: Preprocessor, documents: Sequence[Conversation]) -> TemplateCheck:
    """Whether the text of `documents`, which have no template, reads back as it was."""
    texts = [(document, document.messages[0].text) for document in documents]
    pieces = ((document, text, [(0, len(text))]) for document, text in texts)
    return TemplateCheck(
        name="no chat template", num_tried=len(texts), not_back=next(_not_read_back(pieces, preprocessor), None)
    )


def _alone(conversation: Conversation) -> Iterator[Conversation]:
    """The conversation with each of its answers; that of another row, beside an answer with a verdict, left out."""
    yield replace(conversation, other_answer=None)
    if conversation.other_answer is not None and conversation.verdict is None:
        yield conversation.with_other_answer


_Tried = Sequence[tuple[Conversation, Rendered]]


def _render(template: ChatTemplate, conversation: Conversation) -> Rendered | None:
    render = render_conversation if conversation.messages[-1].role == "assistant" else render_prompt
    try:
        return render(template, conversation)
    except DataError:
        return None


def _own_template(template: ChatTemplate, preprocessor: Preprocessor) -> ChatTemplate | None:
    """The model's own, if it has one and `template` is another."""
    source = preprocessor.chat_template
    if source is None or source == template.source:
        return None
    return ChatTemplate(source, special_tokens=preprocessor.special_tokens, options=template.options)


def _differences_from(own: ChatTemplate, tried: _Tried) -> Iterator[Difference]:
    for conversation, rendered in tried:
        expected = _render(own, conversation)
        if expected is not None and expected.text != rendered.text:
            yield _difference(conversation, expected.text, rendered.text)


def _with_system(tried: _Tried, template: ChatTemplate) -> _Tried:
    """The conversations with a system message, and what `template` makes of them."""
    system = Message("system", (Text("Answer in short."),))
    others = [tuple(message for message in row.messages if message.role != "system") for row, _ in tried]
    rows = [replace(row, messages=(system, *messages)) for (row, _), messages in zip(tried, others, strict=True)]
    return [(row, rendered) for row in rows if (rendered := _render(template, row)) is not None]


def _broken_words(tried: _Tried, preprocessor: Preprocessor) -> tuple[str, ...]:
    words = dict.fromkeys(
        word for _, rendered in tried for text in _own_text(rendered) for word in _LOOKS_LIKE_A_TOKEN.findall(text)
    )
    encode = preprocessor.tokenizer.encode
    return tuple(word for word in words if len(encode(word, add_special_tokens=False)) > 1)


def _own_text(rendered: Rendered) -> Iterator[str]:
    """What the template wrote itself: everything outside the row's own text."""
    edges: list[Span] = [(0, 0), *rendered.literal, (len(rendered.text), len(rendered.text))]
    for (_, start), (end, _) in pairwise(edges):
        yield rendered.text[start:end]


def _not_read_back(
    texts: Iterable[tuple[Conversation, str, Sequence[Span]]], preprocessor: Preprocessor
) -> Iterator[Difference]:
    """Where ids lose characters of a row's text. Spaces are not compared: SentencePiece writes them differently at
    edges."""
    tokenizer = TextTokenizer(preprocessor)
    for conversation, text, literal in texts:
        ids = tokenizer.encode(text, literal=literal).ids
        back = preprocessor.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        expected, found = _without_spaces(text), _without_spaces(str(back))
        if found != expected and found.removeprefix(preprocessor.tokenizer.bos_token or "") != expected:
            yield _difference(conversation, expected, found)


def _without_spaces(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _difference(conversation: Conversation, expected: str, found: str) -> Difference:
    shorter = min(len(expected), len(found))
    place = next((index for index in range(shorter) if expected[index] != found[index]), shorter)
    start, end = max(0, place - _NUM_SHOWN // 2), place + _NUM_SHOWN
    return Difference(conversation.source, expected[start:end], found[start:end])
