"""Checkpoints exactly as XTuner, mmengine and DeepSpeed write them, made of plain torch; and what they mean.

`iter_N.pth` is a file of `torch.save` with the trained weights, the config as text and mmengine's loss curves; under
DeepSpeed it is a folder with a file a process, where the trained weights lie cut up and in float32.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]
RANK, ALPHA = 4, 6
_MODULES = (".k_proj", ".q_proj", ".o_proj", ".up_proj", ".wqkv", ".wo", ".w1", ".w2", ".fc1")

CONFIG = """
from peft import LoraConfig
from mmengine.config import read_base
from xtuner.model import SupervisedFinetune

pretrained_model_name_or_path = {base!r}
betas = (0.9, 0.999)
lr = 2e-4 * 2

model = dict(
    type=SupervisedFinetune,
    llm=dict(
        type=AutoModelForCausalLM.from_pretrained,
        pretrained_model_name_or_path=pretrained_model_name_or_path,
        torch_dtype=torch.float16,
    ),
    lora=dict(type=LoraConfig, r=64, lora_alpha=6, lora_dropout=0.1, bias="none", task_type="CAUSAL_LM"),
)
"""


def model_weights(folder: Path) -> Weights:
    """What a model's folder holds, by the names of its files."""
    weights: Weights = {}
    for file in folder.glob("*.safetensors"):
        weights |= load_file(file)
    return weights


def random_lora(folder: Path) -> Weights:
    """LoRA matrices for linear layers of the model in `folder`, named as XTuner saves them (without `llm.`)."""
    generator = torch.Generator().manual_seed(3)
    state: Weights = OrderedDict()
    for name, weight in sorted(model_weights(folder).items()):
        module = name.removesuffix(".weight")
        if not name.endswith(".weight") or not module.endswith(_MODULES):
            continue
        shapes = {"A": (RANK, weight.shape[1]), "B": (weight.shape[0], RANK)}
        for letter, shape in shapes.items():
            key = f"base_model.model.{module}.lora_{letter}.default.weight"
            state[key] = torch.randn(shape, generator=generator) * 0.2
    return state


def with_lora_by_hand(folder: Path, lora: Mapping[str, torch.Tensor], target: Path) -> Path:
    """The model of `folder` with alpha / r times B A added to each weight, in float64, by its stored name."""
    shutil.copytree(folder, target)
    weights = {name: tensor.double() for name, tensor in model_weights(folder).items()}
    for key, first in lora.items():
        if ".lora_A." not in key:
            continue
        second = lora[key.replace("lora_A", "lora_B")]
        module = key.removeprefix("base_model.model.").partition(".lora_A.")[0]
        weights[f"{module}.weight"] += ALPHA / RANK * second.double() @ first.double()
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def prefixed(prefix: str, weights: Mapping[str, torch.Tensor]) -> Weights:
    """A part of XTuner's model: `llm.`, `visual_encoder.` or `projector.` before each name."""
    return {prefix + name: tensor for name, tensor in weights.items()}


@contextmanager
def _class_of(module_name: str, name: str) -> Iterator[type]:
    """A class that pickles as one of another package: by its methods' names, and with NumPy arrays."""

    class Foreign:
        def __init__(self) -> None:
            self._history = np.array([2.5, 1.25])

        def mean(self) -> float:
            return float(self._history.mean())

        def __getstate__(self) -> dict[str, Any]:
            return {**self.__dict__, "statistics_methods": {"mean": Foreign.mean}}

    module = ModuleType(module_name)
    Foreign.__module__, Foreign.__qualname__ = module_name, name
    Foreign.mean.__module__, Foreign.mean.__qualname__ = module_name, f"{name}.mean"
    vars(module)[name] = Foreign
    parents = module_name.split(".")
    names = [".".join(parents[: depth + 1]) for depth in range(len(parents))]
    sys.modules.update(dict.fromkeys(names, module))
    try:
        yield Foreign
    finally:
        for known in names:
            del sys.modules[known]


def _record(curve: type, config: str | None) -> dict[str, Any]:
    return {
        "meta": {"seed": 1, "iter": 500, "experiment_name": "x"} | ({} if config is None else {"cfg": config}),
        "message_hub": {"log_scalars": OrderedDict({"train/loss": curve()}), "runtime_info": OrderedDict(iter=500)},
    }


def write_pth(file: Path, weights: Mapping[str, torch.Tensor], *, config: str | None = None) -> Path:
    """iter_N.pth as a single file."""
    with _class_of("mmengine.logging.history_buffer", "HistoryBuffer") as curve:
        torch.save({"state_dict": OrderedDict(weights), **_record(curve, config)}, file)
    return file


def write_zero2(
    folder: Path, weights: Mapping[str, torch.Tensor], *, num_processes: int, config: str | None = None
) -> Path:
    """iter_N.pth as DeepSpeed's ZeRO-2 writes it: two groups, each flat, padded and cut in even pieces."""
    names = list(weights)
    groups = [names[::2], names[1::2]]
    shapes = [OrderedDict((name, weights[name].shape) for name in group) for group in groups]
    flat = [_padded(torch.cat([weights[n].flatten() for n in g]), 2 * num_processes) for g in groups]
    _write_model_state(folder / "mp_rank_00_model_states.pt", shapes, config)
    for rank in range(num_processes):
        pieces = [tensor.chunk(num_processes)[rank].float().clone() for tensor in flat]
        state = {"single_partition_of_fp32_groups": pieces, "zero_stage": 2, "partition_count": [num_processes] * 2}
        _write_optimizer_state(folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", state)
    return folder


def write_zero3(
    folder: Path, weights: Mapping[str, torch.Tensor], *, num_processes: int, config: str | None = None
) -> Path:
    """The same by ZeRO-3: every parameter padded and cut by itself, a process's pieces end to end in two tensors."""
    shapes = [OrderedDict((name, tensor.shape) for name, tensor in weights.items())]
    for rank in range(num_processes):
        _write_model_state(folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt", shapes, config)
        pieces = [_padded(tensor.flatten(), num_processes).chunk(num_processes)[rank] for tensor in weights.values()]
        middle = len(pieces) // 2
        flat = [torch.cat(pieces[:middle]).float(), torch.cat(pieces[middle:]).float()]
        state = {"fp32_flat_groups": flat, "zero_stage": 3, "partition_count": num_processes}
        _write_optimizer_state(folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", state)
    return folder


def _padded(flat: torch.Tensor, multiple: int) -> torch.Tensor:
    missing = math.ceil(flat.numel() / multiple) * multiple - flat.numel()
    return torch.cat([flat, torch.full((missing,), 99.0, dtype=flat.dtype)])


def _write_model_state(file: Path, shapes: list[OrderedDict[str, torch.Size]], config: str | None) -> None:
    file.parent.mkdir(exist_ok=True)
    with _class_of("mmengine.logging.history_buffer", "HistoryBuffer") as curve:
        state = {
            "module": OrderedDict(),
            "buffer_names": [],
            "param_shapes": shapes,
            "shared_params": {},
            "frozen_param_shapes": None,
            "frozen_param_fragments": None,
        }
        torch.save({**state, **_record(curve, config)}, file)


def _write_optimizer_state(file: Path, state: dict[str, Any]) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]}
    with _class_of("deepspeed.runtime.fp16.loss_scaler", "LossScaler") as scaler:
        content = {**state, "optimizer_state_dict": optimizer, "loss_scaler": scaler()}
        torch.save({"optimizer_state_dict": content, "ds_version": "0.16.2"}, file)
