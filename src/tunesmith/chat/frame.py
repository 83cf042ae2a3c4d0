"""How a template frames an answer: the header it opens a turn with and the tokens it ends a turn with.

Both are read off two small conversations, once per template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tunesmith.chat.dialect import probe_message
from tunesmith.chat.template import ChatTemplate, TemplateRefusalError

_TOKEN = re.compile(r"<[^<>\s]{1,80}>|\[/?[A-Z_]{1,40}\]")


@dataclass(frozen=True, slots=True)
class TurnFrame:
    """header: what the generation prompt adds, else what stands before an answer; "" for templates with neither
    ends:   the tokens that may end an assistant's turn
    next_header_ends: whether the template writes no end at all, so that the token which opens the next turn ends
            this one, as GLM-4's `<|user|>` and `<|observation|>` do
    """

    header: str
    ends: tuple[str, ...]
    next_header_ends: bool = False


@lru_cache(maxsize=64)
def turn_frame(template: ChatTemplate) -> TurnFrame:
    """The frame of `template`'s answers; header "" and the eos token where it refuses the small conversations."""
    ask, answer, again = "Ask4e2", "Answer8b6", "Again2d9"
    user, assistant = probe_message(template, "user", ask), probe_message(template, "assistant", answer)
    eos = (template.eos_token,) if template.eos_token else ()
    try:
        closed = template.render([user]).rpartition(ask)[2]
        opened = template.render([user], add_generation_prompt=True).rpartition(ask)[2]
        both_turns = template.render([user, assistant])
        longer = template.render([user, assistant, probe_message(template, "user", again)])
    except TemplateRefusalError:
        return TurnFrame(header="", ends=eos)
    last = both_turns.rpartition(answer)[2]
    before = both_turns.rpartition(answer)[0].rpartition(ask)[2]
    between = longer.rpartition(again)[0].rpartition(answer)[2]
    after_last, after_middle = (leading_tokens(tail, template=template) for tail in (last, between))
    both = [left for left, right in zip(after_last, after_middle, strict=False) if left == right]
    # What stands behind any answer ends it; where the two places differ (gpt-oss), their first tokens do.
    ends = ["".join(both)] if both else [*after_last[:1], *after_middle[: len(after_last[:1])]]
    next_header_ends = not after_last and bool(after_middle) and after_middle[0] not in eos
    # A template that knows no generation prompt shows its header before the answer only.
    headers = (_added(closed, opened), _added(closed, before))
    header = next((header for header in headers if header.strip()), "")
    return TurnFrame(header, tuple(dict.fromkeys([*ends, *eos])), next_header_ends)


def _added(closed: str, opened: str) -> str:
    """What stands in `opened` beyond what it shares with `closed`, whole tags."""
    pairs = enumerate(zip(closed, opened, strict=False))
    shared = next((index for index, (left, right) in pairs if left != right), min(len(closed), len(opened)))
    if shared < len(closed):
        # A template that closes the whole conversation by a token: do not begin inside a tag that starts like it.
        while shared > 0 and not (opened[shared - 1].isspace() or opened[shared - 1] in ">]"):
            shared -= 1
    return opened[shared:]


def leading_tokens(text: str, *, template: ChatTemplate) -> list[str]:
    """The tokens `text` begins with after whitespace, with nothing between them.

    A token is a special one of the tokenizer, or what looks like one: `<end>`, `[END]`.
    """
    special_tokens = [token for token in template.special_tokens.values() if token]
    position = len(text) - len(text.lstrip())
    tokens: list[str] = []
    while True:
        match = _TOKEN.match(text, position)
        token = next((token for token in special_tokens if text.startswith(token, position)), None)
        token = token or (match.group() if match else None)
        if token is None:
            return tokens
        tokens.append(token)
        position += len(token)


@lru_cache(maxsize=256)
def header_cuts(header: str) -> tuple[str, ...]:
    """`header` and its beginnings before each of its tags, longest first.

    A generation prompt may open the thoughts (`…assistant\\n<think>\\n`) where the rendered turn has none.
    """
    tags = [match.start() for match in _TOKEN.finditer(header) if header[: match.start()].strip()]
    return (header, *(header[:cut] for cut in reversed(tags))) if header.strip() else ()
