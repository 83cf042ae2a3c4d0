"""One conversation → ids, labels and references to media: rendered, expanded, tokenised, cut to cutoff_len.

Every step is a pure function in its own module; this one puts them in order and says what went wrong with which row.
Knows nothing of files, batches or pixels, but for one check: the first row with media of a kind is compared with a
real call of the model's processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tunesmith import log
from tunesmith.chat.bundled import load_bundled
from tunesmith.chat.message import Conversation, MediaKind, Message, Text
from tunesmith.chat.render import Rendered, render_conversation, render_prompt
from tunesmith.chat.template import ChatTemplate
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.encoder_key import encoder_key
from tunesmith.data.encoding.expand import Expanded, Expander
from tunesmith.data.encoding.loaded_media import load_medium, probe_shape
from tunesmith.data.encoding.processor_call import call_processor, is_told_in_one_call
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.data.encoding.spans import tokens_in
from tunesmith.data.encoding.tokenize import TextTokenizer, Tokens
from tunesmith.data.encoding.truncate import Cut, cut_to_fit
from tunesmith.data.encoding.video_sounds import join_sounds
from tunesmith.data.problem import RowError
from tunesmith.errors import DataError, ModelError, NotSupportedYetError, UsageError
from tunesmith.models.preprocessing.processor import Preprocessor


class RowTooLongError(RowError):
    """A row that does not fit cutoff_len, and is left out rather than cut."""

    KIND = "dropped as too long"

    def __init__(self, detail: str) -> None:
        super().__init__(self.KIND, detail)


@dataclass(frozen=True, slots=True)
class Trace:
    """One example after every step. `cut` tells what was lost to cutoff_len, None if nothing was."""

    conversation: Conversation
    rendered: Rendered
    expanded: Expanded
    tokens: Tokens
    encoded: Encoded
    cut: Cut | None


@dataclass(frozen=True, slots=True)
class _Steps:
    conversation: Conversation
    rendered: Rendered
    expanded: Expanded
    tokens: Tokens


class Encoder:
    """Encodes conversations for one model and one set of data settings."""

    def __init__(self, preprocessor: Preprocessor, template: ChatTemplate, data: DataSettings) -> None:
        self.template = template
        self.preprocessor = preprocessor
        self._data = data
        self._tokenizer = TextTokenizer(preprocessor)
        self._expander = Expander(preprocessor)
        self._outputs = learn_outputs(preprocessor)
        self._checked: set[MediaKind] = set()

    @cached_property
    def key(self) -> str:
        """What the encoding cache calls this way of encoding."""
        return encoder_key(self.preprocessor, self.template, self._data)

    def encode(self, conversation: Conversation) -> Encoded:
        """The example of a conversation.

        Raises RowTooLongError where it is left out for its length, RowError where it cannot be used.
        """
        return self.trace(conversation).encoded

    def trace(self, conversation: Conversation) -> Trace:
        """As `encode`, with the result of every step."""
        conversation = self._with_system(conversation)
        steps, cut = self._steps(conversation, self._render), None
        if len(steps.tokens) > self._data.cutoff_len:
            cut = self._cut(steps)
            steps = self._steps(cut.conversation, self._render)
        supervised = tokens_in(steps.tokens.offsets, steps.expanded.supervised)
        encoded = self._encoded(steps, supervised, truncated=cut is not None)
        if not encoded.num_supervised:
            if cut is not None:
                raise RowTooLongError("none of the answers that are in the loss fits cutoff_len")
            raise RowError("nothing to learn", "no token is in the loss: no answer, or every one has loss: false")
        return Trace(steps.conversation, steps.rendered, steps.expanded, steps.tokens, encoded, cut)

    def encode_prompt(self, conversation: Conversation) -> Encoded:
        """What a model is given to answer `conversation`: nothing in the loss, nothing cut. Raises RowError."""

        def render(conversation: Conversation) -> Rendered:
            return render_prompt(self.template, conversation)

        steps = self._steps(self._with_system(conversation), render)
        return self._encoded(steps, np.zeros(len(steps.tokens), dtype=bool), truncated=False)

    def _render(self, conversation: Conversation) -> Rendered:
        return render_conversation(
            self.template,
            conversation,
            mask_history=self._data.mask_history,
            train_on_prompt=self._data.train_on_prompt,
        )

    def _steps(self, conversation: Conversation, render: Callable[[Conversation], Rendered]) -> _Steps:
        try:
            rendered = render(conversation)
        except DataError as refused:
            raise RowError("cannot be rendered", str(refused)) from refused
        try:
            rendered = join_sounds(rendered, self.preprocessor)
            steps = self._tokenised(conversation, rendered)
            kinds = {media.kind for media in rendered.media}
            if not kinds <= self._checked and not steps.tokens.spelled:
                steps = self._check(steps)
                self._checked |= kinds
        except RowError:
            raise
        except (DataError, NotSupportedYetError) as refused:
            raise RowError("media do not fit", str(refused)) from refused
        return steps

    def _tokenised(self, conversation: Conversation, rendered: Rendered) -> _Steps:
        shapes = [probe_shape(media, self.preprocessor) for media in rendered.media]
        expanded = self._expander.expand(rendered, shapes=shapes)
        return _Steps(conversation, rendered, expanded, self._tokenizer.encode(expanded.text, literal=expanded.literal))

    def _check(self, steps: _Steps) -> _Steps:
        """`steps` if a real call of the processor gives the same ids; else what calling it in full gives."""
        if self._equals_processor(steps):
            return steps
        name = type(self.preprocessor.processor).__name__
        log.note_once(f"{name} does more than expand placeholders; it is called in full for every row with media")
        self._expander.whole_rows = True
        steps = self._tokenised(steps.conversation, steps.rendered)
        if not self._equals_processor(steps):
            raise ModelError(f"{name} gives other ids than its own text and tokenizer; this model cannot be trained")
        return steps

    def _equals_processor(self, steps: _Steps) -> bool:
        text = steps.rendered.text
        options = {} if self._tokenizer.adds_special_tokens(text) else {"add_special_tokens": False}
        loaded = [load_medium(media, self.preprocessor) for media in steps.rendered.media]
        if not is_told_in_one_call(loaded):
            return True
        outputs = call_processor(self.preprocessor, texts=[text], rows=[loaded], return_tensors="pt", **options)
        types = self._outputs.token_types(steps.tokens.ids)
        name = self._outputs.types_name
        same_types = types is None or name is None or np.array_equal(np.asarray(outputs[name])[0], types)
        return np.array_equal(np.asarray(outputs["input_ids"])[0], steps.tokens.ids) and same_types

    def _encoded(self, steps: _Steps, supervised: np.ndarray, *, truncated: bool) -> Encoded:
        tokens = steps.tokens
        in_media = _in_media(steps)
        return Encoded(
            input_ids=tokens.ids,
            labels=np.where(supervised & ~in_media, tokens.ids, np.int32(IGNORED)),
            token_types=self._outputs.token_types(tokens.ids),
            media=steps.rendered.media,
            num_media_tokens=int(in_media.sum()),
            truncated=truncated,
            source=steps.conversation.source,
        )

    def _cut(self, steps: _Steps) -> Cut:
        limit, overlong = self._data.cutoff_len, self._data.overlong
        length = f"{len(steps.tokens)} tokens, cutoff_len is {limit}"
        if overlong == "error":
            raise RowError("too long", f"{length}; set overlong: truncate or drop, or a larger cutoff_len")
        if overlong == "drop":
            raise RowTooLongError(f"{length} (overlong: drop)")

        def measure(candidate: Conversation) -> int:
            return len(self._steps(candidate, self._render).tokens)

        cut = cut_to_fit(steps.conversation, limit=limit, measure=measure, keep_last=self._data.mask_history)
        if cut is None:
            media = f"; its media alone take {_count_media_tokens(steps)}" if steps.rendered.media else ""
            raise RowTooLongError(f"{length}, and too little of it may be cut{media}")
        return cut

    def _with_system(self, conversation: Conversation) -> Conversation:
        default = self._data.default_system
        if default is None or any(message.role == "system" for message in conversation.messages):
            return conversation
        system = Message(role="system", parts=(Text(default),))
        return replace(conversation, messages=(system, *conversation.messages))


def _in_media(steps: _Steps) -> np.ndarray:
    """(T,) bool: the tokens that stand for media."""
    return tokens_in(steps.tokens.offsets, steps.expanded.media)


def _count_media_tokens(steps: _Steps) -> int:
    return int(_in_media(steps).sum())


def build_template(preprocessor: Preprocessor, data: DataSettings) -> ChatTemplate:
    """The bundled template that `template:` names, or the model's own, given what the model was published for.

    Raises UsageError if the model has none and none is named.
    """
    options = dict(preprocessor.template_options)
    if data.enable_thinking is not None:
        options["enable_thinking"] = data.enable_thinking
    if data.template is not None:
        source = load_bundled(data.template)
        return ChatTemplate(
            source, special_tokens=preprocessor.special_tokens, name=f"template: {data.template}", options=options
        )
    if preprocessor.chat_template is None:
        raise UsageError("this model has no chat template of its own; name one, for example `template: chatml`")
    return ChatTemplate(preprocessor.chat_template, special_tokens=preprocessor.special_tokens, options=options)
