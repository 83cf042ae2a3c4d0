"""From a conversation to text with spans: what is seen, what is trained on, what is the row's own text.

The text is the chat template's and nothing else, so that ids equal `apply_chat_template`'s; only where a template
writes no end after the last answer is the tokenizer's eos token appended. Knows nothing of tokens and of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith import log
from tunesmith.chat.content import template_tools
from tunesmith.chat.marks import Located, MarkedText, Span, mark_conversation
from tunesmith.chat.message import Conversation, Media
from tunesmith.chat.spans import Turn, find_turns, literal_spans
from tunesmith.chat.template import ChatTemplate
from tunesmith.errors import DataError


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text. Spans are (start, end) in characters of `text`, in order, apart from one another.

    supervised: what the loss is taken over: answers with their end-of-turn tokens
    literal:    text of the row (messages, thoughts, tools and calls), which must never become special tokens
    media:      what the placeholders stand for, in their order
    """

    text: str
    supervised: tuple[Span, ...]
    literal: tuple[Span, ...]
    media: tuple[Media, ...]


def render_conversation(
    template: ChatTemplate,
    conversation: Conversation,
    *,
    mask_history: bool = False,
    train_on_prompt: bool = False,
) -> Rendered:
    """Render a training example.

    mask_history supervises the last assistant turn only, train_on_prompt everything there is; a message with
    `supervised=False` is never supervised otherwise. Raises DataError where the template cannot express the
    conversation or leaves part of it out (thoughts of old turns apart).
    """
    marked = mark_conversation(template, conversation)
    _require_kept(marked, template, conversation)
    turns = list(find_turns(marked, template=template, tools=template_tools(conversation)))
    text, turns = _with_end(marked.text, turns, template=template, conversation=conversation)
    last_answer = max((n for n, message in enumerate(conversation.messages) if message.role == "assistant"), default=-1)
    supervised = tuple(
        turn.span
        for turn in turns
        if conversation.messages[turn.message].supervised and (turn.message == last_answer or not mask_history)
    )
    return Rendered(
        text=text,
        supervised=((0, len(text)),) if train_on_prompt else supervised,
        literal=literal_spans(marked),
        media=tuple(conversation.media()),
    )


def render_prompt(template: ChatTemplate, conversation: Conversation) -> Rendered:
    """Render `conversation` up to where the model answers: it ends with the generation prompt, nothing is supervised.

    Raises DataError as `render_conversation` does.
    """
    marked = mark_conversation(template, conversation, add_generation_prompt=True)
    _require_kept(marked, template, conversation)
    return Rendered(text=marked.text, supervised=(), literal=literal_spans(marked), media=tuple(conversation.media()))


def _with_end(
    text: str, turns: list[Turn], *, template: ChatTemplate, conversation: Conversation
) -> tuple[str, list[Turn]]:
    """Append the eos token to a last answer that the template left open, as the model must learn to stop."""
    if not turns or turns[-1].has_end or turns[-1].message != len(conversation.messages) - 1:
        return text, turns
    if template.eos_token is None:
        log.note_once(f"{template.name} writes no end after the last answer, and the tokenizer has no eos token")
        return text, turns
    log.note_once(
        f"{template.name} writes no end after the last answer; {template.eos_token!r} is added and trained on"
    )
    ended = text + template.eos_token
    last = turns[-1]
    return ended, [*turns[:-1], Turn(last.message, (last.span[0], len(ended)), has_end=True)]


def _require_kept(marked: MarkedText, template: ChatTemplate, conversation: Conversation) -> None:
    for item in marked.located:
        if not item.spans and _must_be_written(item):
            raise DataError(_left_out(item, template, conversation))
        if len(item.spans) > 1 and _is_answer(item, conversation):
            raise DataError(
                f"{template.name} writes the answer in message {item.piece.message + 1} {len(item.spans)} times; "
                "choose a bundled template by `template: NAME`"
            )
    _require_tools(marked, template, conversation)
    _note_lost_thoughts(marked, template, conversation)


def _is_answer(item: Located, conversation: Conversation) -> bool:
    written_once = item.piece.kind in ("content", "reasoning")
    return written_once and conversation.messages[item.piece.message].role == "assistant"


def _must_be_written(item: Located) -> bool:
    return item.piece.kind == "call" or (item.piece.kind == "content" and not item.piece.is_thought)


def _left_out(item: Located, template: ChatTemplate, conversation: Conversation) -> str:
    message = conversation.messages[item.piece.message]
    what = "a tool call" if item.piece.kind == "call" else "text"
    beside = " beside its tool calls" if message.tool_calls and item.piece.kind == "content" else ""
    return (
        f"{template.name} leaves out {what} of message {item.piece.message + 1} ({message.role}){beside}: "
        f"{item.piece.core[:60]!r}; change the row, or choose another template by `template: NAME`"
    )


def _require_tools(marked: MarkedText, template: ChatTemplate, conversation: Conversation) -> None:
    """Raise DataError where the template says nothing of the tools the row offers."""
    schemas = [item for item in marked.located if item.piece.kind == "schema"]
    if not conversation.tools or any(item.spans for item in schemas):
        return
    if schemas or marked.text.startswith(template.render(marked.messages)):
        raise DataError(
            f"{template.name} writes nothing of a row's tools; choose a template that does by `template: NAME`, "
            "or leave the tools out of the dataset's columns"
        )


def _note_lost_thoughts(marked: MarkedText, template: ChatTemplate, conversation: Conversation) -> None:
    last = len(conversation.messages) - 1
    thoughts = (item for item in marked.located if item.piece.message == last)
    if any(not item.spans and (item.piece.is_thought or item.piece.kind == "reasoning") for item in thoughts):
        log.note_once(f"{template.name} leaves out the thoughts of a last answer, so they are not trained on")
