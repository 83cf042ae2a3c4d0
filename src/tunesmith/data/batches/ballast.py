"""Samples of no row, which keep several processes in step: carriers and the filler.

Where weights lie cut over the processes, all must run the same parts of the model equally often. A batch that lacks a
kind of media which another process has at the same time is given a *carrier*: a tiny medium of that kind with nothing
in the loss, so that loss and gradients stay what they are. A batch with nothing in the loss, or none at all, is given
the *filler*: the shortest text that has a loss, which the step multiplies by zero. They are the same in every process
and open no file. Knows nothing of processes, and not when either is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunesmith.chat.message import Conversation, Media, MediaKind, Message, RowSource, Text
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.data.problem import RowError
from tunesmith.errors import RunError
from tunesmith.media.tiny import tiny_image, tiny_sound, tiny_video
from tunesmith.models.preprocessing.processor import Preprocessor

Kinds = frozenset[MediaKind]

NO_ROW = RowSource("<no row>", 0)
"""Where they are said to stand."""

_UNCUT = DataSettings(cutoff_len=1 << 30)
_TINY: Mapping[MediaKind, Callable[[], bytes]] = {"image": tiny_image, "video": tiny_video, "audio": tiny_sound}


@dataclass(frozen=True, slots=True)
class Ballast:
    """What batches of one model and stage are completed with.

    runs:     for media of each kind, the kinds whose parts of the model they run: their own, or that of another kind
              whose tensors they share (the frames of a video as pictures); of a video with its sound audio's, too
    carriers: of every kind of media that the model takes, with nothing in the loss
    refused:  the kinds that no carrier could be made of, with the reason
    """

    filler: Encoded
    runs: Mapping[MediaKind, Kinds]
    carriers: Mapping[MediaKind, Encoded]
    refused: Mapping[MediaKind, str]

    def kinds_of(self, samples: Iterable[Encoded]) -> Kinds:
        """The kinds whose parts of the model a batch of `samples` runs."""
        kinds = {medium.kind for sample in samples for medium in sample.media}
        return frozenset(run for kind in kinds for run in self.runs[kind])

    def completed(self, samples: Sequence[Encoded], kinds: Kinds) -> tuple[Encoded, ...]:
        """`samples`, behind them the filler unless they have a loss, and a carrier of each of `kinds` they lack.

        Raises RunError for a kind that there is no carrier of.
        """
        filled = [*samples] if has_terms(samples) else [*samples, self.filler]
        missing = kinds - self.kinds_of(samples)
        for kind in sorted(missing, key=lambda kind: (-len(self.runs[kind]), kind)):
            if kind in missing:
                filled.append(self._carrier(kind))
                missing -= self.runs[kind]
        return tuple(filled)

    def _carrier(self, kind: MediaKind) -> Encoded:
        if kind not in self.carriers:
            raise RunError(
                f"this engine needs {kind} in the batches of every process, and the model's processor refuses a tiny "
                f"one: {self.refused.get(kind, 'it takes none')}. Train with parallel: ddp"
            )
        return self.carriers[kind]


def build_ballast(encoder: Encoder, media_inputs: MediaInputs) -> Ballast:
    """The ballast for the model and the rows of `encoder`."""
    preprocessor = encoder.preprocessor
    documents = Encoder(preprocessor, encoder.template, _UNCUT, "documents")  # the shortest text around a medium
    carriers: dict[MediaKind, Encoded] = {}
    refused: dict[MediaKind, str] = {}
    for kind in preprocessor.kinds:
        try:
            carriers[kind] = _build_carrier(documents, kind, with_sound=preprocessor.media.use_audio_in_video)
        except RowError as error:
            refused[kind] = str(error)
    runs = _find_parts(preprocessor, media_inputs)
    return Ballast(_build_filler(preprocessor, encoder.rows), runs, carriers, refused)


def has_terms(samples: Iterable[Encoded]) -> bool:
    """Whether a batch of `samples` has anything in its loss."""
    return any(sample.branches or sample.num_supervised for sample in samples)


def _find_parts(preprocessor: Preprocessor, media_inputs: MediaInputs) -> dict[MediaKind, Kinds]:
    """See Ballast.runs."""
    first: dict[frozenset[str], MediaKind] = {}
    runs: dict[MediaKind, Kinds] = {}
    for kind in preprocessor.kinds:
        own = first.setdefault(media_inputs.tensor_names(kind), kind)
        brings_sound = kind == "video" and preprocessor.media.use_audio_in_video
        runs[kind] = frozenset({own, "audio"} if brings_sound else {own})
    return runs


def _build_carrier(documents: Encoder, kind: MediaKind, *, with_sound: bool) -> Encoded:
    """A document of a tiny medium and one letter. Raises RowError where the processor refuses it."""
    media = [Media(kind, _TINY[kind]())]
    if kind == "video" and with_sound:
        media.append(Media("audio", tiny_sound()))
    document = Conversation(messages=(Message("user", (*media, Text("a"))),), source=NO_ROW)
    encoded = documents.encode(document)
    return replace(encoded, labels=np.full_like(encoded.labels, IGNORED))


def _build_filler(preprocessor: Preprocessor, rows: RowKind) -> Encoded:
    """One token after another one, as often as the stage has answers."""
    number = int(preprocessor.tokenizer("a", add_special_tokens=False)["input_ids"][-1])
    num_answers = 2 if rows in ("pairs", "verdicts") else 1
    ids = np.full(1 + num_answers, number, dtype=np.int32)
    return Encoded(
        input_ids=ids,
        labels=np.where(np.arange(len(ids)) > 0, ids, np.int32(IGNORED)),
        token_types=learn_outputs(preprocessor).token_types(ids),
        media=(),
        num_media_tokens=0,
        truncated=False,
        source=NO_ROW,
        branches=(1,) * num_answers if num_answers > 1 else (),
        verdict=True if rows == "verdicts" else None,
    )
