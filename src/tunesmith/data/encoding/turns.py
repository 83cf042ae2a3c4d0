"""Conversations whose answers are in the loss, and prompts that the model answers by itself → what came of each step.

Knows nothing of pairs and documents.
"""

from __future__ import annotations

from dataclasses import replace

from tunesmith.chat.message import Conversation
from tunesmith.chat.render import Rendered, render_conversation, render_prompt
from tunesmith.chat.template import ChatTemplate
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.fitting import fit
from tunesmith.data.encoding.steps import EncodingSteps
from tunesmith.data.encoding.trace import RowTooLongError, Trace
from tunesmith.data.problem import RowError


def trace_conversation(
    conversation: Conversation, *, steps: EncodingSteps, template: ChatTemplate, data: DataSettings
) -> Trace:
    """Raises RowTooLongError where the row is left out for its length, RowError where it cannot be used."""
    probe = steps.probe()

    def render(candidate: Conversation) -> Rendered:
        return render_conversation(
            template, candidate, mask_history=data.mask_history, train_on_prompt=data.train_on_prompt
        )

    def measure(candidate: Conversation) -> int:
        return len(steps.take(candidate, render=render, probe=probe).tokens)

    taken, cut = steps.take(conversation, render=render, probe=probe), None
    if len(taken.tokens) > data.cutoff_len:
        cut = fit(
            conversation,
            num_tokens=len(taken.tokens),
            num_media_tokens=int(taken.in_media.sum()),
            measure=measure,
            keep_last=data.mask_history,
            data=data,
        )
        taken = steps.take(cut.conversation, render=render, probe=probe)
    encoded = steps.encoded(taken, truncated=cut is not None)
    if not encoded.num_supervised:
        if cut is not None:
            raise RowTooLongError("none of the answers that are in the loss fits cutoff_len")
        raise RowError("nothing to learn", "no token is in the loss: no answer, or every one has loss: false")
    return taken.traced(encoded, cut)


def trace_prompt(
    conversation: Conversation, *, steps: EncodingSteps, template: ChatTemplate, data: DataSettings
) -> Trace:
    """What the model is given of a row for which it answers by itself: nothing in the loss, nothing cut.

    The conversation stays whole: its last answer is the one to judge by. Raises RowTooLongError for a prompt longer
    than cutoff_len (RowError with `overlong: error`), RowError where it cannot be rendered.
    """

    def render(candidate: Conversation) -> Rendered:
        return render_prompt(template, candidate)

    prompt = _without_last_answer(conversation)
    if not prompt.messages:
        raise RowError("nothing to answer", "the row has no prompt")
    if len(list(prompt.media())) < len(list(conversation.media())):
        raise RowError("media in an answer", "the answer to judge by may be text alone")
    taken = steps.take(prompt, render=render, probe=steps.probe())
    if len(taken.tokens) > data.cutoff_len:
        length = f"the prompt has {len(taken.tokens)} tokens, cutoff_len is {data.cutoff_len}; prompts are not cut"
        raise RowError("too long", length) if data.overlong == "error" else RowTooLongError(length)
    encoded = steps.encoded(taken, truncated=False)
    return Trace(conversation, taken.rendered, taken.expanded, taken.tokens, encoded, None)


def _without_last_answer(conversation: Conversation) -> Conversation:
    messages = conversation.messages
    ends_in_answer = bool(messages) and messages[-1].role == "assistant"
    return replace(conversation, messages=messages[:-1]) if ends_in_answer else conversation
