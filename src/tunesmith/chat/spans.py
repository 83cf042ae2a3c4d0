"""Which characters of a rendered conversation are trained on, and which are the row's own text.

A supervised span runs from the end of the assistant header (what the generation prompt writes) through the turn's
thoughts, content and tool calls to its end-of-turn token. An empty thought block that the template inserts counts as
header. Knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from tunesmith.chat.frame import TurnFrame, header_cuts, leading_tokens, turn_frame
from tunesmith.chat.marks import Located, MarkedText, Span
from tunesmith.chat.pieces import text_tags_after, text_tags_before
from tunesmith.chat.template import ChatTemplate, TemplateRefusalError
from tunesmith.errors import DataError

_EMPTY_THOUGHTS = re.compile(r"\s*(?:<[\w:|]*think[\w:|]*>\s*)?</[\w:|]*think[\w:|]*>\s*")


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer in the text: its supervised span, and whether the template wrote an end-of-turn token."""

    message: int
    span: Span
    has_end: bool


def find_turns(marked: MarkedText, *, template: ChatTemplate, tools: Sequence[dict[str, Any]] | None) -> Iterator[Turn]:
    """Every assistant message that left text in the rendering, in order.

    Raises DataError where the template writes another message inside one.
    """
    frame = turn_frame(template)
    for index, message in enumerate(marked.messages):
        if message["role"] != "assistant":
            continue
        extent = [*marked.content_edges.get(index, ())]
        for item in marked.located:
            if item.piece.message == index:
                # A tool's name may be written again with its result; the call itself comes first.
                extent += [edge for span in list(_literal(item, marked.text))[:1] for edge in span]
        if not extent:
            continue
        first, last = min(extent), max(extent)
        _require_one_piece(marked, (first, last), index=index, template=template)
        prompt = _Prompt(template, marked.messages[:index], tools)
        start = _turn_start(marked, first, index=index, frame=frame, prompt=prompt)
        whole = _Prompt(template, marked.messages[: index + 1], tools)
        has_more = "tool_calls" in message or _ends_in_medium(message.get("content"))
        end = _turn_end(marked, last, has_more=has_more, frame=frame, whole=whole)
        yield Turn(index, (start, end or last), has_end=end is not None)


def _require_one_piece(marked: MarkedText, extent: Span, *, index: int, template: ChatTemplate) -> None:
    """Raise DataError where text of another message stands inside an answer, as Gemma 4 puts tools' results."""
    for item in marked.located:
        is_other = item.piece.message not in (-1, index) and item.piece.kind == "content"
        if is_other and any(extent[0] <= start and end <= extent[1] and start < end for start, end in item.spans):
            raise DataError(
                f"{template.name} writes message {item.piece.message + 1} inside the answer of message {index + 1}; "
                "a tool call with text beside it cannot be trained with it: take the text out of the row"
            )


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The beginning of a conversation, rendered only where the text alone does not tell."""

    template: ChatTemplate
    messages: list[dict[str, Any]]
    tools: Sequence[dict[str, Any]] | None

    def render(self, *, add_generation_prompt: bool) -> str | None:
        if not self.messages:
            return None
        try:
            return self.template.render(self.messages, tools=self.tools, add_generation_prompt=add_generation_prompt)
        except TemplateRefusalError:
            return None


def _turn_start(marked: MarkedText, first: int, *, index: int, frame: TurnFrame, prompt: _Prompt) -> int:
    previous = max(
        (end for item in marked.located if item.piece.message != index for _, end in item.spans if end <= first),
        default=0,
    )
    start = _after_header(marked.text[previous:first], frame.header)
    if start is not None:
        start += previous
    else:
        rendered = prompt.render(add_generation_prompt=True)
        fits = rendered is not None and marked.text.startswith(rendered) and previous <= len(rendered) <= first
        start = len(rendered) if rendered is not None and fits else first
    inserted = _EMPTY_THOUGHTS.match(marked.text, start, first)
    return inserted.end() if inserted else start


def _after_header(text: str, header: str) -> int | None:
    for cut in header_cuts(header):
        position = text.rfind(cut)
        if position >= 0:
            return position + len(cut)
        bare = cut.rstrip()
        position = text.rfind(bare)
        if position >= 0:
            # A generation prompt may end in more blank space than a turn's header has.
            end = position + len(bare)
            pairs = zip(text[end:], cut[len(bare) :], strict=False)
            return end + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return None


def _ends_in_medium(content: object) -> bool:
    return isinstance(content, list) and bool(content) and content[-1]["type"] != "text"


def _turn_end(marked: MarkedText, last: int, *, has_more: bool, frame: TurnFrame, whole: _Prompt) -> int | None:
    """Where the turn ends, its end-of-turn token included; None where the template writes no such token.

    has_more: whether tool calls or a medium stand behind the text
    """
    following = min(
        (start for item in marked.located for start, _ in item.spans if start >= last), default=len(marked.text)
    )
    tail = marked.text[last:following]
    if has_more:
        # Behind a tool call the template closes its own brackets first, and a medium is none of the row's text.
        found = [position + len(end) for end in frame.ends if (position := tail.find(end)) >= 0]
    else:
        begin = len(tail) - len(tail.lstrip())
        found = [begin + len(end) for end in frame.ends if tail.startswith(end, begin)]
    if found:
        return last + min(found)
    closed = _end_of_whole(marked, last, whole) if has_more else None
    if frame.next_header_ends and following < len(marked.text):
        return _after_token(marked.text, closed or last, whole.template)
    return closed


def _end_of_whole(marked: MarkedText, last: int, whole: _Prompt) -> int | None:
    """Where the text of the conversation up to and with this turn ends, if the whole text begins with it."""
    rendered = (whole.render(add_generation_prompt=False) or "").rstrip()
    return len(rendered) if len(rendered) > last and marked.text.startswith(rendered) else None


def _after_token(text: str, start: int, template: ChatTemplate) -> int | None:
    token = next(iter(leading_tokens(text[start : start + 200], template=template)), None)
    return None if token is None else text.index(token, start) + len(token)


def literal_spans(marked: MarkedText) -> tuple[Span, ...]:
    """Where text of the row stands, in order.

    The tags around the thoughts an answer opens with are the template's language and stay out; thought tags anywhere
    else in an answer are text like any other.
    """
    return merge_spans([span for item in marked.located for span in _literal(item, marked.text)])


def _literal(located: Located, text: str) -> Iterator[Span]:
    piece = located.piece
    before, after = 0, 0
    if piece.kind == "content" and "think>" in piece.text:
        before, after = text_tags_before(piece), text_tags_after(piece)
    for start, end in located.spans:
        keeps_left = text[max(0, start - before) : start] == piece.text[piece.start - before : piece.start]
        keeps_right = text[end : end + after] == piece.text[piece.end : piece.end + after]
        yield start - (before if keeps_left else 0), end + (after if keeps_right else 0)


def merge_spans(spans: list[Span]) -> tuple[Span, ...]:
    """`spans` in order, those that touch or overlap as one, empty ones left out."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
