"""What one row shows that ruins a run when many rows show it, read off its ids, its labels and its conversation.

Pure functions of one row; what becomes a finding, and how many rows it takes, is decided in `findings/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from tunesmith.chat.message import Conversation, Message
from tunesmith.config.stages import RowKind
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.spans import runs_of
from tunesmith.data.encoding.tokenize import control_tokens
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.answer_signs import JudgedRow, judged_ids, judged_row, likeness
from tunesmith.models.preprocessing.processor import Preprocessor

OPEN_ANSWER = "answer without an end token"
OPEN_DOCUMENT = "document without an end token"
BLANK_ANSWER = "answer that says nothing"
REPEATED_PROMPT = "answer that repeats the prompt"
CONTROL_TEXT = "text that spells a control token"
TINY_MEDIUM = "medium of very few tokens"

FEWEST_MEDIA_TOKENS = 4
"""A picture of so few tokens is a blur: 4 tokens of Qwen2.5-VL are 56 x 56 pixels."""

_NUM_SHOWN = 60
"""Characters shown of an answer."""

_SHORTEST_PROMPT = 12
"""Characters of a prompt below which an answer may well begin with it ("hi" - "hi, how can I help?")."""

_SAYS_NOTHING = {"", "none", "null", "nan", "n/a", "na", "undefined", "nil", "<na>"}
"""What exports write where there was no answer, in lower case."""

_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class RowSigns:
    """What a row is remembered by.

    content:  64 bits of what the model sees and is told of it: ids, media, verdict; equal for equal rows
    opposite: the content of a row that says the opposite of this one; None where nothing is judged
    answer:   64 bits of its last answer; None where it has none
    judged:   what is counted of judged answers; None where there are none
    signs:    what is wrong with it, one RowProblem a kind of those above and in `answer_signs`
    """

    content: int
    opposite: int | None
    answer: int | None
    judged: JudgedRow | None
    signs: tuple[RowProblem, ...]


class SignReader:
    """Reads signs for one model's vocabulary and one kind of rows. Picklable, so that worker processes may hold one."""

    def __init__(self, preprocessor: Preprocessor, rows: RowKind = "conversations") -> None:
        control = control_tokens(preprocessor)
        self._rows = rows
        self._control_ids = np.array(sorted(control.values()), dtype=np.int64)
        self._blank_ids = _whitespace_ids(preprocessor)
        self._spelled = re.compile("|".join(map(re.escape, control)) or r"(?!)")

    def read(self, encoded: Encoded, conversation: Conversation) -> RowSigns:
        """The signs of a row that is kept; `conversation` as the dataset has it."""
        found = {**self._signs_of_answers(encoded, conversation), CONTROL_TEXT: self._control_text(conversation)}
        found[TINY_MEDIUM] = _tiny_medium(encoded)
        answer = None if self._rows == "documents" else _last_answer(conversation)
        said = repr((answer.text, answer.tool_calls)).encode() if answer else b""
        content, opposite = self._contents(encoded, conversation, said)
        return RowSigns(
            content=content,
            opposite=None if opposite == content else opposite,
            answer=_hash_of(said) if answer else None,
            judged=judged_row(encoded, conversation),
            signs=tuple(RowProblem(encoded.source, kind, detail) for kind, detail in found.items() if detail),
        )

    def _contents(self, encoded: Encoded, conversation: Conversation, said: bytes) -> tuple[int, int | None]:
        """RowSigns.content and .opposite. What is `said` for reference is no part of a prompt's ids."""
        media = list(_media_bytes(conversation))
        if not encoded.branches:
            ids = encoded.input_ids.tobytes()
            return _hash_of(ids, *media, *([said] if self._rows == "prompts" else [])), None
        own, opposite = judged_ids(encoded, conversation.verdict)
        return _hash_of(own, *media), _hash_of(opposite, *media)

    def _signs_of_answers(self, encoded: Encoded, conversation: Conversation) -> dict[str, str]:
        """What is wrong with answers, or with the end of a document. A prompt's answer is only judged by."""
        if self._rows == "prompts":
            return {}
        if self._rows == "documents":
            return {OPEN_DOCUMENT: "" if self._has_end(encoded.input_ids) else "it ends in the middle of text"}
        alike = likeness(conversation)
        return {
            OPEN_ANSWER: self._open_answer(encoded, is_pair=conversation.verdict is None),
            BLANK_ANSWER: _blank_answer(conversation),
            REPEATED_PROMPT: _repeated_prompt(conversation),
            **({alike: f"both are {_start_of(conversation.messages[-1].text)}"} if alike else {}),
        }

    def _open_answer(self, encoded: Encoded, *, is_pair: bool) -> str:
        """An end is a control token, maybe with whitespace of the template's behind it (train_on_prompt)."""
        numbers = range(len(encoded.branches) if is_pair else min(len(encoded.branches), 1))
        answers = [encoded.answer(number) for number in numbers] or [encoded]
        stretches = [
            answer.input_ids[start:end] for answer in answers for start, end in runs_of(answer.labels != IGNORED)
        ]
        num_open = sum(not self._has_end(ids) for ids in stretches)
        return f"{num_open} of {len(stretches)} stretches in the loss end in the middle of text" if num_open else ""

    def _has_end(self, ids: np.ndarray) -> bool:
        before_blanks = ids[:-1] if len(ids) > 1 and ids[-1] in self._blank_ids else ids
        return bool(before_blanks[-1] in self._control_ids)

    def _control_text(self, conversation: Conversation) -> str:
        for text in _texts(conversation):
            found = self._spelled.search(text)
            if found:
                return f"{found.group()!r} in {_around(text, found)!r}"
        return ""


def _whitespace_ids(preprocessor: Preprocessor) -> np.ndarray:
    tokenizer = preprocessor.tokenizer
    ids = {ids[-1] for ids in tokenizer(["\n", "\n\n", " "], add_special_tokens=False)["input_ids"] if len(ids)}
    return np.array(sorted(ids), dtype=np.int64)


def _blank_answer(conversation: Conversation) -> str:
    for message in _messages(conversation):
        if message.role == "assistant" and message.supervised and not message.tool_calls:
            said = _INVISIBLE.sub("", message.text).strip()
            if said.lower() in _SAYS_NOTHING and not message.reasoning:
                return f"the answer is {message.text!r}"
    return ""


def _repeated_prompt(conversation: Conversation) -> str:
    """The last answer against the question it answers."""
    answer = _last_answer(conversation)
    asked = [message.text.strip() for message in conversation.messages if message.role == "user"]
    if answer is None or not asked or len(asked[-1]) < _SHORTEST_PROMPT:
        return ""
    if answer.text.strip() == asked[-1]:
        return "the answer is the question again"
    return "the answer begins with the whole question" if answer.text.strip().startswith(asked[-1]) else ""


def _tiny_medium(encoded: Encoded) -> str:
    counts = _tokens_by_medium(encoded)
    least = min(range(len(counts)), key=counts.__getitem__, default=None)
    if least is None or counts[least] > FEWEST_MEDIA_TOKENS:
        return ""
    return f"{encoded.media[least].kind} {least + 1} of {len(counts)} became {counts[least]:.0f} tokens"


def _tokens_by_medium(encoded: Encoded) -> list[float]:
    """Tokens of each medium, where the processor's token types tell them apart; else all have the mean."""
    num_media = len(encoded.media)
    if encoded.token_types is not None:
        runs = runs_of(encoded.token_types > 0)
        if len(runs) == num_media:
            return [end - start for start, end in runs]
    return [encoded.num_media_tokens / num_media] * num_media if num_media else []


def _last_answer(conversation: Conversation) -> Message | None:
    answers = [message for message in conversation.messages if message.role == "assistant"]
    return answers[-1] if answers else None


def _messages(conversation: Conversation) -> tuple[Message, ...]:
    """All messages, a pair's rejected answer last; an answer that belongs to another row is that row's matter."""
    other = conversation.other_answer
    return (
        conversation.messages if other is None or conversation.verdict is not None else (*conversation.messages, other)
    )


def _texts(conversation: Conversation) -> Iterator[str]:
    for message in _messages(conversation):
        yield message.text
        if message.reasoning:
            yield message.reasoning


def _start_of(text: str) -> str:
    return repr(text if len(text) <= _NUM_SHOWN else text[:_NUM_SHOWN] + "…")


def _around(text: str, found: re.Match[str]) -> str:
    return text[max(0, found.start() - 20) : found.end() + 20]


def _media_bytes(conversation: Conversation) -> Iterator[bytes]:
    for media in conversation.media():
        source = media.source
        yield source if isinstance(source, bytes) else repr(source).encode()


def _hash_of(*contents: bytes) -> int:
    """64 bits: among a million different rows two agree by chance once in 37 million data sets."""
    digest = blake2b(digest_size=8)
    for content in contents:
        digest.update(content)
    return int.from_bytes(digest.digest(), "little")
