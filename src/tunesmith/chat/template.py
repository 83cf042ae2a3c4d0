"""A chat template: Jinja source, special tokens and options; it renders template messages (plain dicts) to text.

Knows what a template is given and how its failures read. How a `Message` becomes a dict is `chat.content`'s business,
where the answers stand in the text is `chat.render`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from tunesmith.chat.bundled import bundled_names, load_bundled
from tunesmith.chat.environment import compile_template
from tunesmith.errors import DataError, UsageError

__all__ = ["ChatTemplate", "TemplateMessage", "TemplateRefusalError", "bundled_names", "load_bundled"]

TemplateMessage = dict[str, Any]
"""One message as templates see it: `role`, `content` (text or a list of parts), `tool_calls`, `reasoning_content`, …"""


class TemplateRefusalError(DataError):
    """The template itself cannot render these messages: it raised, or tripped over a shape it does not know."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Jinja `source` with what it reads besides messages.

    special_tokens: `bos_token`, `eos_token`, … as `tokenizer.special_tokens_map` has them
    name:           how messages to the user call this template
    options:        further variables for the template, such as `enable_thinking`
    """

    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    name: str = "the model's own chat template"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.source, self.name))

    @property
    def eos_token(self) -> str | None:
        """The tokenizer's end-of-sequence token, if it has one."""
        return self.special_tokens.get("eos_token")

    def render(
        self,
        messages: Sequence[TemplateMessage],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of `messages`, equal to transformers' `apply_chat_template(..., tokenize=False)`.

        `tools` are JSON schemas of functions, `{"type": "function", "function": {...}}`.
        Raises TemplateRefusalError where the template rejects the messages, UsageError where it is not valid Jinja.
        """
        compiled = self._compiled()
        try:
            return compiled.render(
                messages=list(messages),
                tools=list(tools) if tools else None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **{**self.special_tokens, **self.options},
            )
        except jinja2.TemplateError as refusal:
            raise TemplateRefusalError(f"{self.name} refuses this conversation: {refusal}") from refusal
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as failure:
            raise TemplateRefusalError(f"{self.name} cannot render this conversation: {failure}") from failure

    def _compiled(self) -> jinja2.Template:
        try:
            return compile_template(self.source)
        except jinja2.TemplateSyntaxError as mistake:
            raise UsageError(
                f"{self.name} is not valid Jinja (line {mistake.lineno}: {mistake.message}); "
                "mend chat_template.jinja in the model folder, or choose a bundled one by `template: NAME`"
            ) from mistake
