"""Batches and steppers around the tiny float64 models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from tests.train.tiny_models import padded, row, tiny_model, with_image
from tunesmith.chat.message import RowSource
from tunesmith.data.batches.batch import Batch, build_batch
from tunesmith.models.precision import Precision
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.step import Stepper

FLOAT64 = Precision(frozen=torch.float64, trained=torch.float64, autocast=None, scaler=False)
Row = tuple[Tensor, ...]


def tuned_model(kind: str, tuning: str) -> nn.Module:
    """A tiny model of which everything trains, or with LoRA on it whose B matrices are not zero."""
    model = tiny_model(kind)
    if tuning == "full":
        return model
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return get_peft_model(model, config).double().train()


def make_rows(kind: str, count: int) -> list[Row]:
    """Rows of ids, labels and, for Qwen2.5-VL, the patches of an image; lengths and supervised parts differ."""
    rows = [row(4 + index % 5, seed=100 + index, supervised_from=index % 4) for index in range(count)]
    if kind == "qwen2_5_vl":
        return [with_image(*plain, seed=200 + index) for index, plain in enumerate(rows)]
    return list(rows)


def make_batch(rows: Sequence[Row]) -> Batch:
    """Rows as the collator would batch them."""
    inputs, labels = padded([(ids, labels) for ids, labels, *_ in rows])
    patches = [row[2] for row in rows if len(row) == 3]
    if patches:
        inputs["pixel_values"] = torch.cat(patches)
        inputs["image_grid_thw"] = torch.tensor([[1, 4, 4]] * len(patches))
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == 90).long()
    sources = tuple(RowSource("rows.json", index) for index in range(len(rows)))
    num_tokens = int(inputs["attention_mask"].sum())
    return build_batch(inputs, labels, sources=sources, num_tokens=num_tokens)


def make_stepper(
    model: nn.Module, *, learning_rate: float = 1e-2, max_grad_norm: float = 1.0, chunk_tokens: int = 1024
) -> Stepper:
    """AdamW and a cosine over twenty steps around `model`."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.1)
    return Stepper(
        forward=Forward(model, SupervisedObjective(chunk_tokens), FLOAT64, torch.device("cpu")),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / 20)) / 2),
        parallel=SingleProcess(),
        max_grad_norm=max_grad_norm,
    )
