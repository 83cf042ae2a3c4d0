"""Which engine trains: as the settings say, or with `parallel: auto` the simplest that fits into memory.

What a run needs is estimated from the sizes of the weight files: a rough figure, good to choose by and to explain the
choice. Knows no engine's workings.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import torch

from tunesmith import env, log
from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.models.files.locate import locate
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.load import require_name
from tunesmith.models.precision import choose_precision
from tunesmith.train.parallel.ddp import Replicas
from tunesmith.train.parallel.group import Group, open_group
from tunesmith.train.parallel.parallel import EngineName, Parallel
from tunesmith.train.parallel.single import SingleProcess

_SHARE_FOR_STATE = 0.7
"""Of a device's memory; the rest is for activations, logits and what is gathered or fragmented."""
_SHARE_THAT_TRAINS = {"full": 1.0, "freeze": 0.1, "lora": 0.01}
"""Of all weights, about."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it was taken."""

    engine: EngineName
    reason: str


def build_parallel(settings: Settings) -> Parallel:
    """The engine of this run, joined with the other processes; says which and why.

    Raises UsageError for settings that no engine fulfils, RunError where the processes do not find each other.
    """
    choice = choose_engine(settings, num_processes=env.world_size())
    if choice.engine == "single":
        return SingleProcess()
    group = open_group(settings)
    parallel = _build(choice.engine, group, settings)
    log.info(f"{group.num_processes} processes by {choice.engine}: {choice.reason}")
    return parallel


def _build(engine: EngineName, group: Group, settings: Settings) -> Parallel:
    if engine == "fsdp2":
        from tunesmith.train.parallel.fsdp2 import FullyShardedParallel

        return FullyShardedParallel(group, settings)
    if engine == "deepspeed":
        from tunesmith.train.parallel.deepspeed import DeepSpeedParallel

        return DeepSpeedParallel(group, settings)
    return Replicas(group)


def choose_engine(settings: Settings, *, num_processes: int) -> Choice:
    """The engine for `num_processes`. Raises UsageError where `parallel` and `deepspeed` contradict each other."""
    asked = settings.parallel.parallel
    if settings.parallel.deepspeed is not None:
        if asked not in {"auto", "deepspeed"}:
            raise UsageError(f"parallel: {asked} and deepspeed exclude each other; leave one of them out")
        return Choice("deepspeed", "deepspeed is set")
    if asked != "auto":
        return Choice("single" if asked == "ddp" and num_processes == 1 else asked, f"parallel: {asked}")
    if num_processes == 1:
        return Choice("single", "one process")
    return _by_memory(settings)


def _by_memory(settings: Settings) -> Choice:
    """Replicas where one fits into a device, else shards."""
    needed = _state_bytes(settings)
    available = _device_bytes(use_cpu=settings.training.use_cpu) * _SHARE_FOR_STATE
    sizes = f"weights, gradients and optimiser take about {needed / 1e9:.1f} GB"
    if needed <= available:
        return Choice("ddp", f"{sizes}, which fits into each process's {available / 1e9:.1f} GB for them")
    if settings.model.quantization_bit == 8:
        return Choice("ddp", f"{sizes}; weights in 8 bits cannot be cut")
    return Choice("fsdp2", f"{sizes}, more than each process's {available / 1e9:.1f} GB for them, so they are cut")


def _state_bytes(settings: Settings) -> float:
    """Frozen weights in their format; of each that trains the weight, its gradient and AdamW's two moments."""
    precision = choose_precision(settings)
    bits = settings.model.quantization_bit
    frozen = precision.frozen.itemsize if bits is None else bits / 8
    trains = _SHARE_THAT_TRAINS[settings.tuning.finetuning_type]
    return _num_weights(settings) * ((1 - trains) * frozen + trains * 4 * precision.trained.itemsize)


def _num_weights(settings: Settings) -> float:
    """By the sizes of the weight files; of random weights nothing is known before they are made."""
    if settings.model.train_from_scratch:
        return 0.0
    base = locate(require_name(settings.model), settings.model)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    written = config.get("dtype") or config.get("torch_dtype")
    itemsize = 4 if written == "float32" else 2
    return sum(file.stat().st_size for file in weight_files(base)) / itemsize


def _device_bytes(*, use_cpu: bool) -> float:
    """Memory of this process's GPU, or its share of the host's."""
    if torch.cuda.is_available() and not use_cpu:
        return float(torch.cuda.get_device_properties(env.local_rank() % torch.cuda.device_count()).total_memory)
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return host / max(env.local_world_size(), 1)
