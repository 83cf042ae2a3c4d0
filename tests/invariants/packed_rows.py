"""Rows of every kind of media that a tiny model takes, as batches: packed, padded, or one alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tests.data.recordings import sound, video
from tests.train.batches import FLOAT64
from tunesmith.chat.message import Conversation, Media
from tunesmith.config.model import MediaSettings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.models.folder import load_folder
from tunesmith.models.packing.positions import find_axis_positions
from tunesmith.models.packing.proof import Packing
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.steps.forward import Forward

WITHOUT_TEMPLATE = {"phi": "chatml", "gpt2": "chatml"}
ONE_SIZE = {"minicpmv4_6"}
"""Its tower takes pictures of different sizes together only in newer versions of transformers."""
MINICPM = {"minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5", "minicpmo_2_6"}
WITH_VIDEO = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_5_omni", "minicpmv4_6", "minicpmv4_7"} | MINICPM


@dataclass(frozen=True)
class Given:
    """A tiny model in `folder` and four examples that it can read, the last one of two tokens."""

    kind: str
    folder: Path

    def model(self) -> nn.Module:
        """In float64 and training mode, without dropout, every parameter open."""
        model, _ = load_folder(self.folder, device="cpu", dtype="float64")
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if self.kind == "qwen3_moe":
            model.set_experts_implementation("eager")  # the default's grouped products know no float64
        return model.requires_grad_(True).train()

    @cached_property
    def preprocessor(self) -> Preprocessor:
        media = MediaSettings(
            use_audio_in_video=self.kind == "qwen2_5_omni",
            enable_high_fps=self.kind == "minicpmv_4_5",  # two frames a group in so short a clip
        )
        return read_preprocessor(self.folder, media=media)

    @cached_property
    def rows(self) -> tuple[Conversation, ...]:
        """Media in the first and the third row, two kinds of them in one row where the model takes several."""
        first, third = self._media()
        return (
            conversation(user(*first, "What is 1 + 1?"), assistant("2, of course.")),
            conversation(user("你好, a longer question with more words in it?"), assistant("yes"), row=1),
            conversation(user(*third, "a"), assistant("b c d"), user("e"), assistant("f"), row=2),
        )

    def _media(self) -> tuple[tuple[Media, ...], tuple[Media, ...]]:
        takes = self.preprocessor.kinds
        second_size = (120, 90) if self.kind in ONE_SIZE else (64, 150)
        images = (picture(120, 90), picture(*second_size, seed=1)) if "image" in takes else ()
        others: tuple[Media, ...] = ()
        if self.kind in WITH_VIDEO:
            others += (video(self.folder / "v.mp4", num_frames=12, with_sound="audio" in takes),)
        if "audio" in takes:
            others += (sound(self.folder / "s.wav", seconds=0.5),)
        return images[:1] + others[-1:], images[1:] + others

    @cached_property
    def examples(self) -> list[Encoded]:
        encoder = build_encoder(self.preprocessor, template=WITHOUT_TEMPLATE.get(self.kind))
        encoded = [encoder.encode(row) for row in self.rows]
        return [*encoded, _last_two_tokens(encoded[1])]

    def media_of(self, example: Encoded) -> tuple[Media, ...]:
        """What the encoder refers to: rows here are no dataset's, so their media are there as they are."""
        return tuple(item for item in example.media if isinstance(item, Media))

    def collator(self, *, packed: bool) -> Collator:
        return Collator(self.preprocessor, MediaInputs(self.preprocessor), packed=packed)

    def batch(self, model: nn.Module, chosen: Sequence[int], *, packed: bool) -> Batch:
        """The chosen examples in float64, completed for split attention where they are packed."""
        examples = [self.examples[index] for index in chosen]
        batch = self.collator(packed=packed)(examples, [self.media_of(example) for example in examples])
        batch = batch.completed(Packing(splits=True, axes=find_axis_positions(model)))
        inputs = {name: value.double() if value.is_floating_point() else value for name, value in batch.inputs.items()}
        return replace(batch, inputs=inputs)


def _last_two_tokens(encoded: Encoded) -> Encoded:
    ids = encoded.input_ids[-2:]
    types = None if encoded.token_types is None else encoded.token_types[-2:]
    return replace(encoded, input_ids=ids, labels=ids.copy(), token_types=types)


def loss_and_gradients(model: nn.Module, batches: Sequence[Batch]) -> tuple[float, dict[str, Tensor]]:
    """The sum over `batches` of their losses, and of its gradients."""
    model.zero_grad()
    forward = Forward(model, SupervisedObjective(chunk_tokens=1024), FLOAT64, torch.device("cpu"))
    total = 0.0
    for batch in batches:
        loss = forward.loss(batch).loss_sum
        loss.backward()
        total += loss.item()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return total, gradients


def assert_same(one: tuple[float, dict[str, Tensor]], other: tuple[float, dict[str, Tensor]], *, rel: float) -> None:
    """Losses and gradients equal but for `rel` of the largest gradient of each parameter."""
    assert abs(one[0] - other[0]) <= 1e-12 + rel * abs(one[0])
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert (gradient - other[1][name]).abs().max() <= rel * gradient.abs().max() + 1e-14, name
