"""Sound → what MiniCPM-o hears of it: Whisper's mel features of its pieces, and the text that keeps their place.

The model hears at most 30 s at once, so longer sound is cut into pieces of 30 s; how many tokens a piece becomes
follows from its length alone, and no spectrogram is needed to count them. Knows nothing of chat texts or weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor

from tunesmith.models.families.minicpmv.placeholders import audio_text

FRAMES_PER_S = 50
"""Frames a second that the encoder's layers see: its second convolution halves the 100 mel frames."""


Frames = TypeVar("Frames", int, Tensor)


@dataclass(frozen=True, slots=True)
class SoundLayout:
    """How a model's sound becomes tokens.

    pool_step:   encoder frames a token; 2 makes 25 tokens a second (-o 2.6), 5 makes 10 (-o 4.5)
    chunk_input: a run of placeholders for every second, as chat(), vLLM and LLaMA-Factory write -o 2.6's sound;
                 otherwise one run for the whole sound, as -o 4.5's chat() does
    """

    pool_step: int = 2
    chunk_input: bool = False


@dataclass(frozen=True, slots=True)
class ProcessedSound:
    """One sound, whose spectrogram is made when it is asked for: who only counts tokens does without.

    pieces:       samples of each piece of at most 30 s
    feature_lens: (C,) int64, the mel frames of each piece
    text:         what stands in place of the sound's marker
    """

    pieces: Sequence[np.ndarray]
    feature_lens: Tensor
    text: str
    extractor: WhisperFeatureExtractor

    @property
    def features(self) -> Tensor:
        """(C, num_mel_bins, 3000) float32: spectrograms made over 30 s, 0 from where the sound ends."""
        extractor = self.extractor
        features = torch.zeros(len(self.pieces), extractor.feature_size, extractor.nb_max_frames)
        for row, piece, length in zip(features, self.pieces, self.feature_lens.tolist(), strict=True):
            made = extractor(piece, sampling_rate=extractor.sampling_rate, padding="max_length", return_tensors="np")
            row[:, :length] = torch.from_numpy(np.array(made["input_features"][0][:, :length]))
        return features


def read_sound_layout(config: Mapping[str, Any]) -> SoundLayout:
    """The layout that a config.json says. Without `chunk_input` (as -o 4.5's) it goes by the version, 2.6 chunking."""
    chunked = config.get("chunk_input", float(config.get("version") or 0) < 4)
    return SoundLayout(pool_step=int(config.get("audio_pool_step", 2)), chunk_input=bool(chunked))


def process_sounds(
    sounds: Sequence[np.ndarray],
    feature_extractor: WhisperFeatureExtractor,
    *,
    pool_step: int = 2,
    chunk_input: bool = False,
    sampling_rate: int | None = None,
    **_options: object,
) -> list[ProcessedSound]:
    """Each of `sounds`, (N,) samples at the extractor's rate, by itself. Other options of a call are ignored.

    The published processor counts tokens over the whole sound and makes features of 30 s pieces. Both agree, because
    a full piece's 3,000 mel frames are a whole number of tokens for every published pool step; here the pieces are
    counted, so that text and features agree by construction. Raises ValueError for sound of another shape or rate, and
    for sound too short for a single token.
    """
    extractor = feature_extractor
    if sampling_rate not in (None, extractor.sampling_rate):
        raise ValueError(
            f"sound at {sampling_rate} samples a second was given, the model hears {extractor.sampling_rate}"
        )
    layout = SoundLayout(pool_step, chunk_input)
    return [_process(np.asarray(sound, dtype=np.float32), extractor, layout) for sound in sounds]


def num_tokens_of(mel_frames: Frames, *, pool_step: int) -> Frames:
    """Tokens that a piece of so many mel frames becomes: halved by a convolution (up), then pooled (down)."""
    return (mel_frames + 1) // 2 // pool_step


def _process(sound: np.ndarray, extractor: WhisperFeatureExtractor, layout: SoundLayout) -> ProcessedSound:
    if sound.ndim != 1:
        raise ValueError(f"sound of shape {sound.shape} was given, (samples,) was expected: mix its channels into one")
    pieces = [sound[start : start + extractor.n_samples] for start in range(0, len(sound), extractor.n_samples)]
    lens = [-(-len(piece) // extractor.hop_length) for piece in pieces]
    num_tokens = sum(num_tokens_of(length, pool_step=layout.pool_step) for length in lens)
    if not num_tokens:
        shortest = (2 * layout.pool_step - 2) * extractor.hop_length + 1
        raise ValueError(
            f"a sound of {len(sound)} samples is too short for one token: it takes {shortest} samples, "
            f"{shortest / extractor.sampling_rate:.2f} s"
        )
    return ProcessedSound(pieces, torch.tensor(lens, dtype=torch.int64), _text(num_tokens, layout), extractor)


def _text(num_tokens: int, layout: SoundLayout) -> str:
    a_second = FRAMES_PER_S // layout.pool_step
    if not layout.chunk_input:
        return audio_text(num_tokens)
    full, rest = divmod(num_tokens, a_second)
    return "".join(audio_text(count) for count in [a_second] * full + [rest] * (rest > 0))
