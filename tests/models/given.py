"""What the tests of models start from: settings for a folder, one example as a batch, one training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.tiny import AUDIO_KINDS, IMAGE_KINDS
from tunesmith.config.model import MediaSettings
from tunesmith.config.settings import Settings
from tunesmith.models.preprocessing.processor import read_preprocessor


def settings_for(
    folder: Path | str,
    *,
    tuning: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **model: Any,
) -> Settings:
    """Settings on the CPU for the model in `folder`; sections as dicts, other keywords go to the model's section."""
    return Settings.model_validate(
        {
            "model": {"model_name_or_path": str(folder), **model},
            "tuning": tuning or {},
            "training": {"use_cpu": True, **(training or {})},
        }
    )


def batch_for(folder: Path, *, with_image: bool = False, with_sound: bool = False) -> dict[str, torch.Tensor]:
    """One short conversation as the model's own processor makes it, with a red picture or a tone where asked for."""
    preprocessor = read_preprocessor(folder, media=MediaSettings())
    if not with_image and not with_sound:
        return dict(preprocessor.tokenizer(["There are 3 red circles. 图片里有什么?"], return_tensors="pt"))
    media: list[Any] = [{"type": "image"}] * with_image + [{"type": "audio", "audio_url": "tone.wav"}] * with_sound
    turns = [
        _turn("user", [*media, {"type": "text", "text": "What is it?"}]),
        _turn("assistant", [{"type": "text", "text": "a red circle"}]),
    ]
    processor: Any = preprocessor.processor
    given: dict[str, Any] = {"images": [[Image.new("RGB", (120, 90), (255, 0, 0))]]} if with_image else {}
    if with_sound:
        tone = np.sin(np.arange(8000, dtype=np.float32) * 0.2)
        given |= {"audio": [tone], "audio_kwargs": {"sampling_rate": preprocessor.sampling_rate}}
    return dict(processor(text=[processor.apply_chat_template(turns, tokenize=False)], return_tensors="pt", **given))


def batch_for_kind(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """`batch_for` with a picture where the tiny model `kind` sees, and a tone where it hears."""
    return batch_for(folder, with_image=kind in IMAGE_KINDS, with_sound=kind in AUDIO_KINDS)


def train_a_step(model: torch.nn.Module, batch: dict[str, torch.Tensor], *, learning_rate: float = 0.01) -> float:
    """One step of plain gradient descent on the model's own loss, which is returned."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    with torch.no_grad():
        for parameter in trainable:
            if parameter.grad is not None:
                parameter -= learning_rate * parameter.grad
                parameter.grad = None
    return loss.item()


@torch.no_grad()
def logits_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(1, T, vocabulary) logits in evaluation mode."""
    logits: torch.Tensor = model.eval()(**batch).logits
    return logits


def _turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}
