"""One row through rendering, expansion of its media and tokenisation, for one model; nothing is cut here.

Every step is a pure function in its own module; this one puts them in order and says what went wrong with which row.
One check looks at content: the first row with media of a kind is compared with a real call of the model's processor.
Knows nothing of cutoff_len and of what a stage learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith import log
from tunesmith.chat.message import Conversation, Media, MediaKind
from tunesmith.chat.render import Rendered
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.expand import Expanded, Expander
from tunesmith.data.encoding.loaded_media import load_medium, probe_shape
from tunesmith.data.encoding.media_shape import Shape
from tunesmith.data.encoding.processor_call import call_processor, is_told_in_one_call
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.data.encoding.spans import tokens_in
from tunesmith.data.encoding.tokenize import TextTokenizer, Tokens
from tunesmith.data.encoding.trace import Trace
from tunesmith.data.encoding.truncate import Cut
from tunesmith.data.encoding.video_sounds import join_sounds
from tunesmith.data.problem import RowError
from tunesmith.errors import DataError, ModelError, NotSupportedYetError
from tunesmith.models.preprocessing.processor import Preprocessor

Render = Callable[[Conversation], Rendered]
Probe = Callable[[Media], Shape]


@dataclass(frozen=True, slots=True)
class Steps:
    """What each step made of a conversation."""

    conversation: Conversation
    rendered: Rendered
    expanded: Expanded
    tokens: Tokens

    @property
    def in_media(self) -> np.ndarray:
        """(T,) bool: the tokens that stand for media."""
        return tokens_in(self.tokens.offsets, self.expanded.media)

    def traced(self, encoded: Encoded, cut: Cut | None) -> Trace:
        """The steps with what they come to."""
        return Trace(self.conversation, self.rendered, self.expanded, self.tokens, encoded, cut)


class EncodingSteps:
    """The steps of one model's processor or tokenizer. For any thread."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        self.preprocessor = preprocessor
        self._tokenizer = TextTokenizer(preprocessor)
        self._expander = Expander(preprocessor)
        self._outputs = learn_outputs(preprocessor)
        self._checked: set[MediaKind] = set()

    def probe(self) -> Probe:
        """What tells the shapes of one row's media; it opens each once, however often the row is taken."""
        known: dict[int, tuple[Media, Shape]] = {}  # by identity: hashing a medium in bytes costs more than its header

        def probe(media: Media) -> Shape:
            if id(media) not in known:
                known[id(media)] = media, probe_shape(media, self.preprocessor)
            return known[id(media)][1]

        return probe

    def take(self, conversation: Conversation, *, render: Render, probe: Probe) -> Steps:
        """Every step of `conversation`, which `render` makes text of. Raises RowError where one cannot be done."""
        try:
            rendered = render(conversation)
        except DataError as refused:
            raise RowError("cannot be rendered", str(refused)) from refused
        try:
            rendered = join_sounds(rendered, self.preprocessor)
            steps = self._tokenised(conversation, rendered, probe)
            kinds = {media.kind for media in rendered.media}
            if not kinds <= self._checked and not steps.tokens.spelled:
                steps = self._check(steps, probe)
                self._checked |= kinds
        except RowError:
            raise
        except (DataError, NotSupportedYetError) as refused:
            raise RowError("media do not fit", str(refused)) from refused
        return steps

    def media_texts(self, media: Sequence[Media], *, probe: Probe) -> tuple[str, ...]:
        """What stands for each of `media` in a row that has no others. Raises DataError for one that is refused."""
        return self._expander.media_texts([probe(item) for item in media])

    def supervised_in(self, steps: Steps) -> np.ndarray:
        """(T,) bool: the tokens that the rendering put in the loss, but for those of media."""
        supervised: np.ndarray = tokens_in(steps.tokens.offsets, steps.expanded.supervised) & ~steps.in_media
        return supervised

    def encoded(self, steps: Steps, *, truncated: bool) -> Encoded:
        """`steps` as a plain row."""
        tokens = steps.tokens
        return Encoded(
            input_ids=tokens.ids,
            labels=np.where(self.supervised_in(steps), tokens.ids, np.int32(IGNORED)),
            token_types=self._outputs.token_types(tokens.ids),
            media=steps.rendered.media,
            num_media_tokens=int(steps.in_media.sum()),
            truncated=truncated,
            source=steps.conversation.source,
        )

    def _tokenised(self, conversation: Conversation, rendered: Rendered, probe: Probe) -> Steps:
        shapes = [probe(media) for media in rendered.media]
        expanded = self._expander.expand(rendered, shapes=shapes)
        return Steps(conversation, rendered, expanded, self._tokenizer.encode(expanded.text, literal=expanded.literal))

    def _check(self, steps: Steps, probe: Probe) -> Steps:
        """`steps` if a real call of the processor gives the same ids; else what calling it in full gives."""
        if self._equals_processor(steps):
            return steps
        name = type(self.preprocessor.processor).__name__
        log.note_once(f"{name} does more than expand placeholders; it is called in full for every row with media")
        self._expander.whole_rows = True
        steps = self._tokenised(steps.conversation, steps.rendered, probe)
        if not self._equals_processor(steps):
            raise ModelError(f"{name} gives other ids than its own text and tokenizer; this model cannot be trained")
        return steps

    def _equals_processor(self, steps: Steps) -> bool:
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
