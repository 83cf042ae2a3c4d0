"""Where each of a row's strings stands in the rendered text, found by rendering them with marker characters inside.

Markers are characters that the row does not contain, from a block so rare that they mean nothing to a template, and
printable, as Python's way of printing a list escapes others. A string is marked around its core (without outer
whitespace), an answer around every stretch between thought tags, so that templates may strip text and split off
thoughts. Rendering with markers, markers taken out, must give the plain text; where it does not (a template looked
at a string's first characters), the markers move to the middle of the strings and the string is matched outwards.
Knows nothing of turns or supervision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from tunesmith.chat.content import SlotKind, template_messages, template_tools
from tunesmith.chat.message import Conversation
from tunesmith.chat.pieces import Piece, stretches
from tunesmith.chat.template import ChatTemplate, TemplateMessage, TemplateRefusalError
from tunesmith.errors import DataError

Span = tuple[int, int]
"""Characters [start, end) of a rendered text."""

_FIRST, _LAST = 0x20000, 0x2A6DD  # CJK ideographs, extension B
_MARKER = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
_AT_MARKERS = re.compile(f"({_MARKER.pattern})")


@dataclass(frozen=True, slots=True)
class Located:
    """A piece and everywhere it stands in the plain text (nowhere, where the template left it out)."""

    piece: Piece
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A rendered conversation: its plain text, the dicts it was made from, and where the row's strings stand.

    content_edges: message index -> where an answer's content begins and ends (one or both, where the template kept
                   them): thought tags may stand before its first piece and behind its last
    """

    text: str
    messages: list[TemplateMessage]
    located: tuple[Located, ...]
    content_edges: dict[int, list[int]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which strings get markers, and whether around their cores or at the middle."""

    at_edges: bool
    kinds: frozenset[SlotKind]
    assistants_only: bool = False


_MESSAGES: frozenset[SlotKind] = frozenset({"content", "reasoning", "call", "name"})
_PLANS = (
    _Plan(at_edges=True, kinds=_MESSAGES | {"schema", "parameter"}),
    _Plan(at_edges=False, kinds=_MESSAGES | {"schema", "parameter"}),
    _Plan(at_edges=True, kinds=_MESSAGES | {"schema"}),
    _Plan(at_edges=False, kinds=_MESSAGES | {"schema"}),
    _Plan(at_edges=True, kinds=_MESSAGES),
    _Plan(at_edges=False, kinds=_MESSAGES),
    _Plan(at_edges=False, kinds=_MESSAGES, assistants_only=True),
)
_NONE = frozenset[str]()
_LOOKS_LIKE_CONTROL = re.compile(r"<\|[^|<>]+\|>")


def mark_conversation(
    template: ChatTemplate, conversation: Conversation, *, add_generation_prompt: bool = False
) -> MarkedText:
    """Render `conversation` and find where each of the row's strings stands in the text.

    Raises DataError where the template cannot render it, or writes other text when a string's inner characters change.
    """
    messages = template_messages(conversation, template=template)
    tools = template_tools(conversation)
    text = template.render(messages, tools=tools, add_generation_prompt=add_generation_prompt)
    taken = _markers_in([text, messages, tools])
    for plan in _PLANS:
        marker = _Marker(plan, tuple(message.role for message in conversation.messages), taken)
        marked_messages = template_messages(conversation, template=template, write=marker.write)
        marked_tools = template_tools(conversation, write=marker.write)
        try:
            marked = template.render(marked_messages, tools=marked_tools, add_generation_prompt=add_generation_prompt)
        except TemplateRefusalError:
            continue
        found = _take_out(marked, first=_FIRST, end=marker.next_code, keep=taken)
        if found.text == text:
            _require_harmless(marker.unmarked, template)
            return _locate(found, marker, messages)
    raise DataError(
        f"{template.name} changes what it writes with the inner characters of a message, so the answers' place in its "
        "text cannot be told; choose a bundled template by `template: NAME`"
    )


def _require_harmless(unmarked: list[str], template: ChatTemplate) -> None:
    """Raise DataError where a string whose place in the text is not known spells a token that it would become."""
    tokens = [token for token in template.special_tokens.values() if token]
    for text in unmarked:
        if _LOOKS_LIKE_CONTROL.search(text) or any(token in text for token in tokens):
            raise DataError(
                f"{template.name} rewrites a text of the row that spells a special token ({text[:60]!r}), so it cannot "
                "be kept from becoming one; change the row, or choose a bundled template by `template: NAME`"
            )


@dataclass(slots=True)
class _Marker:
    """Its `write` is the `Write` that puts markers into strings as planned and remembers them."""

    plan: _Plan
    roles: tuple[str, ...]
    taken: frozenset[str]
    next_code: int = _FIRST
    pieces: list[Piece] = field(default_factory=list)
    edges: list[tuple[int, str]] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    """Templates look a parameter's name up among the required ones, so it is marked alike everywhere."""

    def write(self, kind: SlotKind, message: int, text: str) -> str:
        is_assistant = message >= 0 and self.roles[message] == "assistant"
        if kind not in self.plan.kinds or (self.plan.assistants_only and not is_assistant):
            self.unmarked.append(text)
            return text
        if kind == "parameter" and text in self.parameters:
            return self.parameters[text]
        is_answer = is_assistant and kind == "content"
        has_edges = is_answer and self.plan.at_edges and bool(text.strip())
        inserts = [(len(text) - len(text.lstrip()), self._edge(message))] if has_edges else []
        for start, end, is_thought in stretches(text, splits=is_answer):
            piece = Piece(message, kind, text, start, end, is_thought, self._draw(), self._draw())
            self.pieces.append(piece)
            left, right = (start, end) if self.plan.at_edges else (_middle(piece), _middle(piece))
            inserts += [(left, piece.opening), (right, piece.closing)]
        if has_edges:
            inserts.append((len(text.rstrip()), self._edge(message)))
        marked = _insert(text, inserts)
        if kind == "parameter":
            self.parameters[text] = marked
        return marked

    def _edge(self, message: int) -> str:
        self.edges.append((message, self._draw()))
        return self.edges[-1][1]

    def _draw(self) -> str:
        while chr(self.next_code) in self.taken:
            self.next_code += 1
        if self.next_code >= _LAST:
            raise DataError("a row with more than 30 thousand strings (in tools or tool calls) cannot be rendered")
        self.next_code += 1
        return chr(self.next_code - 1)


def _middle(piece: Piece) -> int:
    return (piece.start + piece.end) // 2


def _insert(text: str, inserts: list[tuple[int, str]]) -> str:
    pieces, last = [], 0
    for position, marker in inserts:
        pieces += [text[last:position], marker]
        last = position
    return "".join([*pieces, text[last:]])


def _markers_in(value: object) -> frozenset[str]:
    """The marker characters that the row's own strings contain."""
    if isinstance(value, str):
        return _NONE if value.isascii() else frozenset(_MARKER.findall(value))
    if isinstance(value, dict):
        return _NONE.union(*map(_markers_in, value), *map(_markers_in, value.values()))
    return _NONE.union(*map(_markers_in, value)) if isinstance(value, list) else _NONE


@dataclass(frozen=True, slots=True)
class _Found:
    """Text after its markers were taken out, and where in it each of them stood."""

    text: str
    positions: dict[str, list[int]]


def _take_out(marked: str, *, first: int, end: int, keep: frozenset[str]) -> _Found:
    drawn = [chr(code) for code in range(first, end) if chr(code) not in keep] if keep else []
    split = re.compile(f"([{''.join(drawn)}])").split if drawn else _AT_MARKERS.split
    parts = split(marked)
    positions: dict[str, list[int]] = {}
    for char, position in zip(parts[1::2], accumulate(map(len, parts[::2])), strict=False):
        positions.setdefault(char, []).append(position)
    return _Found("".join(parts[::2]), positions)


def _locate(found: _Found, marker: _Marker, messages: list[TemplateMessage]) -> MarkedText:
    find = _edge_spans if marker.plan.at_edges else _inner_spans
    located = tuple(Located(piece, tuple(find(piece, found))) for piece in marker.pieces)
    edges: dict[int, list[int]] = {}
    for message, char in marker.edges:
        edges.setdefault(message, []).extend(found.positions.get(char, []))
    return MarkedText(found.text, messages, located, edges)


def _edge_spans(piece: Piece, found: _Found) -> Iterator[Span]:
    openings = found.positions.get(piece.opening, [])
    closings = found.positions.get(piece.closing, [])
    if len(openings) == len(closings):
        yield from zip(openings, closings, strict=True)
        return
    # One of the two is gone: the row's text is known, so it is matched from the other.
    for position in openings or closings:
        yield _matched(found.text, position, piece.core, offset=0 if openings else len(piece.core))


def _inner_spans(piece: Piece, found: _Found) -> Iterator[Span]:
    for position in found.positions.get(piece.opening, []):
        yield _matched(found.text, position, piece.core, offset=_middle(piece) - piece.start)


def _matched(text: str, position: int, core: str, *, offset: int) -> Span:
    """The span around `position` that reads as `core` does around `offset`, as far as it does."""
    start, end = position, position
    while start > 0 and offset - (position - start) > 0 and text[start - 1] == core[offset - (position - start) - 1]:
        start -= 1
    while end < len(text) and offset + end - position < len(core) and text[end] == core[offset + end - position]:
        end += 1
    return start, end
