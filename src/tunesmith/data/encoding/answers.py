"""A prompt with two answers → one example in which the prompt stands once: beginning, answer, other answer.

Both rows are encoded as plain ones, so the ids of each are exactly what the chat template makes of it; what they have
in common up to the first token of an answer is the beginning. Only the last answer of each is in the loss. Knows
nothing of losses and of which answer is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunesmith.chat.message import Conversation
from tunesmith.chat.render import Rendered, render_conversation
from tunesmith.chat.template import ChatTemplate
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.fitting import fit
from tunesmith.data.encoding.steps import EncodingSteps, Probe, Steps
from tunesmith.data.encoding.trace import RowTooLongError, Trace
from tunesmith.data.encoding.truncate import Cut, Measure, cut_other_answer
from tunesmith.data.problem import RowError

_Both = tuple[Steps, Steps]

_OTHER_CUT = "the end of another row's answer, which is there for the KL, cut"


def trace_answers(
    conversation: Conversation, *, steps: EncodingSteps, template: ChatTemplate, data: DataSettings
) -> Trace:
    """The example of a pair, or of a judged answer with that of another row.

    Raises RowTooLongError where the row is left out for its length, RowError where it cannot be used.
    """
    if conversation.other_answer is None:
        raise RowError("nothing to compare", "the row has one answer, and this stage learns from two")
    rows = _Rows(steps, template, steps.probe())
    both, cut = rows.take(conversation), None
    if max(_lengths(both)) > data.cutoff_len:
        cut = _fit(conversation, both, rows, data)
        both = rows.take(cut.conversation)
    truncated = cut is not None and cut.kind != "comparison"
    answers = tuple(steps.encoded(row, truncated=truncated) for row in both)
    _require_learnable(answers, names=answer_names(conversation.verdict), is_cut=cut is not None)
    tree = _joined(answers[0], answers[1], verdict=conversation.verdict)
    _require_shared_media(both, tree.num_shared)
    traced = tuple(row.traced(tree.answer(number), cut) for number, row in enumerate(both))
    whole = conversation if cut is None else cut.conversation
    return replace(traced[0], conversation=whole, encoded=tree, answers=traced)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Takes a conversation with each of its answers through the steps."""

    steps: EncodingSteps
    template: ChatTemplate
    probe: Probe

    def take(self, conversation: Conversation) -> _Both:
        first = replace(conversation, other_answer=None)
        return self._take(first), self._take(conversation.with_other_answer)

    def count(self, conversation: Conversation) -> int:
        """Tokens of the conversation with its last message, whatever else may stand there."""
        return len(self._take(replace(conversation, other_answer=None)).tokens)

    def count_longer(self, conversation: Conversation) -> int:
        """Tokens of the conversation with the longer of its answers."""
        if conversation.other_answer is None:
            return self.count(conversation)
        return max(_lengths(self.take(conversation)))

    def _take(self, conversation: Conversation) -> Steps:
        return self.steps.take(conversation, render=self._render, probe=self.probe)

    def _render(self, conversation: Conversation) -> Rendered:
        return render_conversation(self.template, conversation, mask_history=True)


def _lengths(both: _Both) -> tuple[int, int]:
    return len(both[0].tokens), len(both[1].tokens)


def _fit(conversation: Conversation, both: _Both, rows: _Rows, data: DataSettings) -> Cut:
    """Both answers cut to what fits. A judged answer is never cut, nor its prompt, to make room for another row's."""

    own, longer = len(both[0].tokens), max(_lengths(both))

    def cut_by(measure: Measure, num_tokens: int) -> Cut:
        return fit(
            conversation,
            num_tokens=num_tokens,
            num_media_tokens=int(both[0].in_media.sum()),
            measure=measure,
            keep_last=True,
            data=data,
        )

    if conversation.verdict is None:
        return cut_by(rows.count_longer, longer)
    cut = cut_by(rows.count, own) if own > data.cutoff_len else None
    kept = conversation if cut is None else cut.conversation
    if rows.count(kept.with_other_answer) <= data.cutoff_len:
        assert cut is not None, "only called for rows that are too long"
        return cut
    shorter = cut_other_answer(kept, limit=data.cutoff_len, measure=rows.count)
    if shorter is None:
        return cut_by(rows.count_longer, longer)
    return Cut(shorter, "comparison", _OTHER_CUT) if cut is None else replace(cut, conversation=shorter)


def answer_names(verdict: bool | None) -> tuple[str, str]:
    """What the two answers of a row are called."""
    if verdict is None:
        return "chosen answer", "rejected answer"
    return f"answer marked {'good' if verdict else 'bad'}", "another row's answer"


def _require_learnable(answers: Sequence[Encoded], *, names: Sequence[str], is_cut: bool) -> None:
    for answer, name in zip(answers, names, strict=True):
        if answer.num_supervised:
            continue
        if is_cut:
            raise RowTooLongError(f"the {name} does not fit cutoff_len")
        raise RowError("nothing to learn", f"the {name} has no token in the loss: it is empty, or has loss: false")


def _require_shared_media(both: _Both, num_shared: int) -> None:
    """Raises RowError unless all media stand in the beginning, as the tokens of neither answer may see the other's."""
    if both[0].rendered.media == both[1].rendered.media and not any(row.in_media[num_shared:].any() for row in both):
        return
    raise RowError(
        "media in an answer", "images, videos and audio of a row with two answers must stand before the answers"
    )


def _joined(first: Encoded, other: Encoded, *, verdict: bool | None) -> Encoded:
    """Both rows as one, what they begin with once. Raises RowError where they begin with an answer."""
    num_shared = _num_shared(first, other)
    if not num_shared:
        raise RowError("nothing before the answers", "their first token stands where nothing predicts it")
    return replace(
        first,
        input_ids=np.concatenate((first.input_ids, other.input_ids[num_shared:])),
        labels=np.concatenate((first.labels, other.labels[num_shared:])),
        token_types=_joined_types(first, other, num_shared),
        branches=(len(first) - num_shared, len(other) - num_shared),
        verdict=verdict,
    )


def _joined_types(first: Encoded, other: Encoded, num_shared: int) -> np.ndarray | None:
    if first.token_types is None or other.token_types is None:
        return None
    return np.concatenate((first.token_types, other.token_types[num_shared:]))


def _num_shared(first: Encoded, other: Encoded) -> int:
    """How many tokens both begin with before the first one in the loss of either."""
    shorter = min(len(first), len(other))
    differs = first.input_ids[:shorter] != other.input_ids[:shorter]
    if first.token_types is not None and other.token_types is not None:
        differs |= first.token_types[:shorter] != other.token_types[:shorter]
    learned = (first.labels[:shorter] != IGNORED) | (other.labels[:shorter] != IGNORED)
    return _first_true(differs | learned)


def _first_true(flags: np.ndarray) -> int:
    return int(np.argmax(flags)) if flags.any() else len(flags)
