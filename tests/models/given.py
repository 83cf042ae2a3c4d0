"""What the tests of models start from: settings for a folder, one example as a batch, one training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tests.tiny import VISION_KINDS
from tunesmith.config.model import MediaSettings
from tunesmith.config.settings import Settings
from tunesmith.models.processor import read_preprocessor


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


def batch_for(folder: Path, *, with_image: bool = False) -> dict[str, torch.Tensor]:
    """One short conversation as the model's own processor makes it, with a red picture where asked for."""
    preprocessor = read_preprocessor(folder, media=MediaSettings())
    if with_image:
        question: Any = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
        turns = [_turn("user", question), _turn("assistant", [{"type": "text", "text": "a red circle"}])]
        text = preprocessor.processor.apply_chat_template(turns, tokenize=False)
        images = [[Image.new("RGB", (120, 90), (255, 0, 0))]]
        return dict(preprocessor.processor(text=[text], images=images, return_tensors="pt"))
    return dict(preprocessor.tokenizer(["There are 3 red circles. 图片里有什么?"], return_tensors="pt"))


def batch_for_kind(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """`batch_for` with a picture where the tiny model `kind` sees."""
    return batch_for(folder, with_image=kind in VISION_KINDS)


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
