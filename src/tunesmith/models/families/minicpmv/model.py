"""MiniCPM-V: a SigLIP tower, a resampler and a language model of transformers, under the published weight names.

Images stand in the text as runs of placeholders, which the model finds by itself; what the tower and the resampler make
of their slices takes the runs' places in the embedding. Everything behind that is the language model's own: masks,
cache, positions, logits, loss. Knows nothing of slicing, templates or training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast

from tunesmith.models.families.minicpmv.config import MiniCPMVConfig
from tunesmith.models.families.minicpmv.resampler import QueryAttention, Resampler
from tunesmith.models.families.minicpmv.runs import fill_runs, find_runs
from tunesmith.models.families.minicpmv.vision import VisionTower

_HEAD_WIDTH = 128
"""Of the resampler's attention, in every published model."""

_QUERY_STD = 0.02


@dataclass(frozen=True, slots=True)
class Slices:
    """Image slices of a batch, video frames among them.

    pixel_values: (P, 3, side, side) patches of all slices, row by row
    sizes:        patches high and wide of each slice
    group_sizes:  how many consecutive slices share the tokens of one run
    temporal_ids: the time of each slice, -1 for a still
    """

    pixel_values: Tensor
    sizes: list[list[int]]
    group_sizes: list[int]
    temporal_ids: list[int]

    def portions(self, num_slices: int) -> Iterator[Slices]:
        """The same, some groups at a time: at least one, and no more than `num_slices` slices if it is more."""
        first = 0
        while first < len(self.group_sizes):
            last, taken = first + 1, self.group_sizes[first]
            while last < len(self.group_sizes) and taken + self.group_sizes[last] <= num_slices:
                taken += self.group_sizes[last]
                last += 1
            yield self._groups(first, last)
            first = last

    def _groups(self, first: int, last: int) -> Slices:
        start, stop = sum(self.group_sizes[:first]), sum(self.group_sizes[:last])
        counts = [high * wide for high, wide in self.sizes]
        patches = slice(sum(counts[:start]), sum(counts[:stop]))
        return Slices(
            self.pixel_values[patches],
            self.sizes[start:stop],
            self.group_sizes[first:last],
            self.temporal_ids[start:stop],
        )


class MiniCPMVForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """The model of one published folder.

    Media tensors of all samples lie end to end, in the order of their placeholders:

    pixel_values (P, 3, side, side): every patch of every slice       tgt_sizes (S, 2): patches high and wide of a slice
    temporal_ids (S,): time of a video frame, -1 for a still          group_sizes (G,): slices that share a run
    """

    config_class = MiniCPMVConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    media_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "tgt_sizes", "temporal_ids", "group_sizes")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__(config)
        self._no_split_modules = ["Resampler"]
        self._skip_keys_device_placement = ["past_key_values"]
        width = config.text_config.hidden_size
        # Any: transformers has no types for what is called on these
        language: Any = AutoModelForCausalLM
        tower: Any = VisionTower
        self.llm: Any = language.from_config(config.text_config)
        self.vpm: VisionTower = tower._from_config(config.vision_config)
        self.resampler = Resampler(
            num_queries=config.query_num,
            width=width,
            num_heads=width // _HEAD_WIDTH,
            patch_width=config.vision_config.hidden_size,
        )
        self.post_init()  # type: ignore[no-untyped-call]  # transformers has no types here

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        found: nn.Module = self.llm.get_input_embeddings()
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's."""
        self.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        found: nn.Module = self.llm.get_output_embeddings()
        return found

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the language model's head."""
        self.llm.set_output_embeddings(new_embeddings)

    def get_decoder(self) -> nn.Module:
        """The language model without its head."""
        found: nn.Module = self.llm.get_decoder()
        return found

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]  # transformers has no types here
        if isinstance(module, QueryAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
        elif isinstance(module, Resampler):
            init.trunc_normal_(module.query, std=_QUERY_STD)
            init.normal_(module.proj, std=module.proj.shape[0] ** -0.5)

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
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and with `labels` the loss, of input_ids (B, T), or of inputs_embeds (B, T, E).

        The rest is the language model's own, `options` too: past_key_values, labels, use_cache, … What `generate` looks
        for in this signature stands in it. Raises ValueError where media do not fit the placeholders in input_ids.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("the model needs input_ids or inputs_embeds, and was given neither")
            media = (pixel_values, tgt_sizes, temporal_ids, group_sizes)
            inputs_embeds = self.embed(input_ids, *media)
        outputs: CausalLMOutputWithPast = self.llm(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **options,
        )
        return outputs

    def embed(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        tgt_sizes: Tensor | None = None,
        temporal_ids: Tensor | None = None,
        group_sizes: Tensor | None = None,
    ) -> Tensor:
        """(B, T, E): what the language model reads, images in their places."""
        embeddings: Tensor = self.get_input_embeddings()(input_ids)
        if self.config.scale_emb != 1:
            embeddings = embeddings * self.config.scale_emb
        if pixel_values is None:
            return embeddings
        slices = self._slices(pixel_values, tgt_sizes, temporal_ids, group_sizes)
        ids = self.media_token_ids
        runs = find_runs(
            input_ids,
            starts=(ids["image_start"], ids["slice_start"]),
            ends=(ids["image_end"], ids["slice_end"]),
        )
        features = self.look(slices)
        lengths = [features.shape[1]] * len(features)
        return fill_runs(embeddings, runs, features.flatten(0, 1), lengths, what="images")

    def look(self, slices: Slices) -> Tensor:
        """(G, Q, E): the tokens of every group of slices."""
        if torch.is_grad_enabled() and self._sight_trains():
            return self._look_at(slices)
        return torch.cat([self._look_at(portion) for portion in slices.portions(self.config.vision_batch_size)])

    def _sight_trains(self) -> bool:
        seeing = (*self.vpm.parameters(), *self.resampler.parameters())
        return any(parameter.requires_grad for parameter in seeing)

    def _look_at(self, slices: Slices) -> Tensor:
        patches = self.vpm(slices.pixel_values, slices.sizes)
        tokens: Tensor = self.resampler(patches, slices.sizes, slices.group_sizes, slices.temporal_ids)
        return tokens

    @property
    def media_token_ids(self) -> dict[str, int]:
        """Ids of the marks around media, by role. Raises ValueError if nothing has said them."""
        ids: dict[str, int] | None = self.config.media_token_ids
        if ids is None:
            raise ValueError(
                "the model does not know the tokens around images, for its folder has no tokenizer files beside "
                "config.json: copy them there, or set media_token_ids in config.json"
            )
        return ids

    def _slices(
        self, pixel_values: Tensor, tgt_sizes: Tensor | None, temporal_ids: Tensor | None, group_sizes: Tensor | None
    ) -> Slices:
        if tgt_sizes is None:
            raise ValueError("pixel_values were given without tgt_sizes, the patches high and wide of each slice")
        sizes: list[list[int]] = tgt_sizes.tolist()
        groups = [1] * len(sizes) if group_sizes is None else group_sizes.tolist()
        times = [-1] * len(sizes) if temporal_ids is None else temporal_ids.tolist()
        num_patches = sum(high * wide for high, wide in sizes)
        if num_patches != len(pixel_values) or sum(groups) != len(sizes) or len(times) != len(sizes):
            raise ValueError(
                f"{len(pixel_values)} patches, {len(sizes)} slices of {num_patches} patches, groups of {sum(groups)} "
                f"slices and {len(times)} temporal_ids do not belong together: give all tensors of the processor"
            )
        if not self.config.batch_3d_resampler and max(groups, default=1) > 1:
            raise ValueError("this model cannot read several frames as one: every group_sizes must be 1")
        return Slices(pixel_values, sizes, groups, times)

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """transformers' own, with media in the first step only: later ones find them in the cache.

        `generate` takes the arguments of `forward` because the last one here is named kwargs.
        """
        parent: Any = super()
        inputs: dict[str, Any] = parent.prepare_inputs_for_generation(*args, **kwargs)
        if not kwargs.get("is_first_iteration") and kwargs.get("use_cache", True):
            return {name: value for name, value in inputs.items() if name not in self.media_inputs}
        return inputs

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Any = None,
        **options: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """transformers' own repeats every tensor row by row, which patches of several slices cannot be."""
        media = {name: options.pop(name) for name in self.media_inputs if expand_size > 1 and name in options}
        if media:
            options["inputs_embeds"] = self.embed(input_ids, **media)
        parent: Any = super()
        expanded: tuple[Any, dict[str, Any]] = parent._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **options
        )
        return expanded
