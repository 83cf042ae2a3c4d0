"""The engine that runs `generate` of a transformers model in this process, one answer at a time.

The prompt's ids come from the same encoder and collator as training's, so that a model is asked the way it was taught.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tunesmith.chat.dialect import places_media
from tunesmith.chat.message import Conversation, Media, MediaKind
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder
from tunesmith.errors import ModelError
from tunesmith.infer.detokenize import decode_pieces
from tunesmith.infer.end_of_turn import end_of_turn_id
from tunesmith.infer.engine import SamplingOptions
from tunesmith.infer.live import kept_random_state
from tunesmith.infer.sampling import as_ids, build_generation_config
from tunesmith.infer.token_stream import StopSwitch, TokenSink, stream_tokens
from tunesmith.models.parts import core_model
from tunesmith.models.preprocessing.processor import Preprocessor

_OUT_OF_MEMORY = (
    "out of memory while answering; start a new conversation (/clear), show fewer or smaller images or frames "
    "(image_max_pixels, video_maxlen), or load the model with infer_dtype=bfloat16 or quantization_bit=4"
)


class TransformersEngine:
    """Answers with `model`, which must be in evaluation mode (`live.answering` sees to it during a training)."""

    def __init__(self, model: PreTrainedModel | PeftModel, preprocessor: Preprocessor, encoder: Encoder) -> None:
        # PEFT's layers sit inside the model; its outer `generate` adds nothing for LoRA and rewires methods meanwhile.
        self._model: Any = core_model(model)
        self._tokenizer: Any = preprocessor.tokenizer
        self._kinds = frozenset(kind for kind in preprocessor.kinds if places_media(encoder.template, "user", kind))
        self._encoder = encoder
        self._collator = Collator(preprocessor, MediaInputs(preprocessor), packed=False)
        tokenizer, own = self._tokenizer, self._model.generation_config
        self._stop_ids = (
            {end_of_turn_id(preprocessor, encoder.template)} | as_ids(tokenizer.eos_token_id) | as_ids(own.eos_token_id)
        )
        self._pad_id = min(self._stop_ids) if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def stream(
        self, conversation: Conversation, options: SamplingOptions, *, seed: int | None = None
    ) -> Generator[str]:
        """Pieces of the answer as they appear. With several beams there is one piece: beams decide at the end.

        Raises RowError where the conversation cannot be encoded, and whatever `generate` raises.
        """
        if options.num_beams > 1:
            yield self.answer(conversation, options, seed=seed)
            return
        batch = self._prompt(conversation)
        ids = stream_tokens(lambda sink, switch: self._generate(batch, options, seed=seed, sink=sink, switch=switch))
        with closing(ids):
            yield from self._text(ids, options)

    def answer(self, conversation: Conversation, options: SamplingOptions, *, seed: int | None = None) -> str:
        """The whole answer, made in the caller's own thread (and so under its autocast)."""
        batch = self._prompt(conversation)
        output = self._generate(batch, options, seed=seed)
        new = output[0, batch.inputs["input_ids"].shape[1] :].tolist()
        return "".join(self._text(new, options))

    def accepts(self, kind: MediaKind) -> bool:
        """Whether the model takes media of `kind` and its chat template has a place for them."""
        return kind in self._kinds

    def _prompt(self, conversation: Conversation) -> Batch:
        prompt = self._encoder.encode_prompt(conversation)
        media = [item for item in prompt.media if isinstance(item, Media)]  # none stands in a row of a dataset
        return self._collator([prompt], [media]).to(self._model.device)

    def _generate(
        self,
        batch: Batch,
        options: SamplingOptions,
        *,
        seed: int | None,
        sink: TokenSink | None = None,
        switch: StopSwitch | None = None,
    ) -> torch.Tensor:
        """(1, prompt + answer) ids."""
        config = build_generation_config(options, stop_ids=self._stop_ids, pad_id=self._pad_id)
        stopping = None if switch is None else [switch]
        try:
            with kept_random_state(self._model, seed=seed) if seed is not None else nullcontext():
                output: torch.Tensor = self._model.generate(
                    **batch.inputs, generation_config=config, streamer=sink, stopping_criteria=stopping
                )
        except torch.OutOfMemoryError as error:
            raise ModelError(_OUT_OF_MEMORY) from error
        return output

    def _text(self, ids: Iterable[int], options: SamplingOptions) -> Generator[str]:
        skip = options.skip_special_tokens
        # The end-of-turn token is no part of the answer even where the tokenizer does not call it special.
        shown = (token for token in ids if not (skip and token in self._stop_ids))
        return decode_pieces(shown, partial(self._tokenizer.decode, skip_special_tokens=skip))
