"""MiniCPM-o: MiniCPM-V that also hears. Its speech output (`tts.*`) is not built.

Sound stands in the text as runs of placeholders too: one for a clip, or one for every second of it. What the encoder,
the projector and the pooling make of all clips takes the runs' places in order. Knows nothing of spectrograms.
"""

from __future__ import annotations

from itertools import accumulate, islice
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from tunesmith.models.families.minicpmv.audio import (
    SoundProjector,
    SoundTower,
    chunk_frames_of,
    longest_pieces,
    pool_to_tokens,
)
from tunesmith.models.families.minicpmv.audio_features import num_tokens_of
from tunesmith.models.families.minicpmv.model import MiniCPMVForConditionalGeneration
from tunesmith.models.families.minicpmv.omni_config import MiniCPMOConfig
from tunesmith.models.families.minicpmv.runs import fill_runs, find_runs


class MiniCPMOForConditionalGeneration(MiniCPMVForConditionalGeneration):  # type: ignore[no-untyped-call]
    """The model of one published folder, without ears where its config or its weights have none.

    Beside MiniCPM-V's media tensors, for the sounds of all samples in the order of their placeholders:

    audio_features (C, num_mel_bins, frames): pieces of at most 30 s
    audio_feature_lens (C,): mel frames of each piece
    audio_clip_sizes (A,): pieces of each clip; left out, every piece is a clip
    """

    config_class = MiniCPMOConfig
    media_inputs: ClassVar[tuple[str, ...]] = (
        *MiniCPMVForConditionalGeneration.media_inputs,
        *("audio_features", "audio_feature_lens", "audio_clip_sizes"),
    )

    def __init__(self, config: MiniCPMOConfig) -> None:
        super().__init__(config)
        unused = ["tts"]
        if config.audio_config is None:
            unused += ["apm", "audio_projection_layer"]
        else:
            tower: Any = SoundTower  # transformers has no types for what is called on it
            self.apm: SoundTower = tower._from_config(config.audio_config)
            # the published projector reads a quarter of the feed-forward width, which is the encoder's width
            self.audio_projection_layer = SoundProjector(
                config.audio_config.encoder_ffn_dim // 4, config.text_config.hidden_size
            )
        self._keys_to_ignore_on_load_unexpected = [rf"^{part}\." for part in unused]
        self.post_init()  # type: ignore[no-untyped-call]  # transformers has no types here

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        pixel_values: Tensor | None = None,
        tgt_sizes: Tensor | None = None,
        temporal_ids: Tensor | None = None,
        group_sizes: Tensor | None = None,
        audio_features: Tensor | None = None,
        audio_feature_lens: Tensor | None = None,
        audio_clip_sizes: Tensor | None = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """As MiniCPM-V's. Raises ValueError where the media do not fit the placeholders in input_ids."""
        if inputs_embeds is None and input_ids is not None:
            seen = (pixel_values, tgt_sizes, temporal_ids, group_sizes)
            inputs_embeds = self.embed(input_ids, *seen, audio_features, audio_feature_lens, audio_clip_sizes)
        return super().forward(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            logits_to_keep=logits_to_keep,
            **options,
        )

    def embed(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        tgt_sizes: Tensor | None = None,
        temporal_ids: Tensor | None = None,
        group_sizes: Tensor | None = None,
        audio_features: Tensor | None = None,
        audio_feature_lens: Tensor | None = None,
        audio_clip_sizes: Tensor | None = None,
    ) -> Tensor:
        """(B, T, E): what the language model reads, images and sounds in their places."""
        embeddings = super().embed(input_ids, pixel_values, tgt_sizes, temporal_ids, group_sizes)
        if audio_features is None:
            return embeddings
        if self.config.audio_config is None:
            raise ValueError("this model cannot hear: its folder has no weights of the audio encoder (apm.*)")
        if audio_feature_lens is None:
            raise ValueError("audio_features were given without audio_feature_lens, the mel frames of each piece")
        sizes = torch.ones_like(audio_feature_lens) if audio_clip_sizes is None else audio_clip_sizes
        tokens = self.hear(audio_features, audio_feature_lens, sizes)
        clip_tokens = self._clip_tokens(audio_feature_lens, sizes)
        ids = self.media_token_ids
        runs = find_runs(input_ids, starts=(ids["audio_start"],), ends=(ids["audio_end"],))
        _check_runs(runs.lengths, clip_tokens)
        return fill_runs(embeddings, runs, tokens, runs.lengths, what="sounds")

    def hear(self, features: Tensor, feature_lens: Tensor, clip_sizes: Tensor) -> Tensor:
        """(N, E): the tokens of all clips behind each other."""
        clip_lens = longest_pieces(feature_lens, clip_sizes)
        chunk_frames = chunk_frames_of(self.config.audio_chunk_length)
        states = self.apm(features, feature_lens, clip_lens, chunk_frames=chunk_frames)
        return pool_to_tokens(self.audio_projection_layer(states), feature_lens, pool_step=self.config.audio_pool_step)

    def _clip_tokens(self, feature_lens: Tensor, clip_sizes: Tensor) -> list[int]:
        pieces = iter(num_tokens_of(feature_lens, pool_step=self.config.audio_pool_step).tolist())
        return [sum(islice(pieces, size)) for size in clip_sizes.tolist()]


def _check_runs(run_lengths: tuple[int, ...], clip_tokens: list[int]) -> None:
    """Raise ValueError unless the runs are as long as the clips, and every clip ends where a run does."""
    ends_of_runs, ends_of_clips = list(accumulate(run_lengths)), list(accumulate(clip_tokens))
    if ends_of_runs[-1:] != ends_of_clips[-1:] or not set(ends_of_clips) <= set(ends_of_runs):
        raise ValueError(
            f"the text has {sum(run_lengths)} placeholders for sound in {len(run_lengths)} runs, and sounds of "
            f"{', '.join(map(str, clip_tokens))} tokens were given: both must come from one call of the processor"
        )
