"""What a run that is short of memory can do about it: only what its settings do not do already.

And under which circumstances a size that fits into memory goes on to fit. Knows no batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tunesmith.config.settings import Settings
from tunesmith.models.precision import choose_precision
from tunesmith.train.parallel.parallel import Parallel

_SMALL_OPTIMIZERS = {
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
}


def advice_for_one_sample(settings: Settings, *, checkpoints: bool) -> str:
    """What makes one sample take less, or leaves it more. `checkpoints`: whether activations are recomputed."""
    return "What would help: " + "; ".join((*_for_activations(settings, checkpoints), *_for_weights(settings)))


def advice_for_micro_batches(settings: Settings) -> str:
    """How the next run has micro-batches that fit from the beginning."""
    training, data = settings.training, settings.data
    accumulation = training.gradient_accumulation_steps
    if data.batch_tokens is not None:
        return f"batch_tokens below {data.batch_tokens} (with more gradient_accumulation_steps than {accumulation})"
    if settings.packs:
        return f"cutoff_len below {data.cutoff_len}, which is how long packs are"
    size = training.per_device_train_batch_size
    if size > 1:
        return f"per_device_train_batch_size: {size // 2} and gradient_accumulation_steps: {2 * accumulation}"
    return f"cutoff_len below {data.cutoff_len}"


def advice_for_optimizer(settings: Settings) -> str:
    """What makes the optimiser's state smaller or puts it elsewhere."""
    return "What would help: " + "; ".join(_for_weights(settings))


def circumstances(settings: Settings, *, parallel: Parallel, device: torch.device, checkpoints: bool) -> dict[str, str]:
    """What decides how much memory a micro-batch takes, and how much there is."""
    model, tuning, training = settings.model, settings.tuning, settings.training
    return {
        "model": str(model.model_name_or_path),
        "device": _describe(device),
        "engine": f"{parallel.name}, {parallel.num_processes} processes",
        "precision": str(choose_precision(settings).compute),
        "finetuning_type": f"{tuning.finetuning_type}, rank {tuning.lora_rank}",
        "quantization_bit": str(model.quantization_bit),
        "optim": training.optim,
        "gradient_checkpointing": str(checkpoints),
        "flash_attn": model.flash_attn,
        "stage": training.stage,
    }


def _for_activations(settings: Settings, checkpoints: bool) -> Iterator[str]:
    data, media = settings.data, settings.media
    if not checkpoints:
        yield "disable_gradient_checkpointing: false"
    yield f"cutoff_len below {data.cutoff_len}"
    yield f"for media image_max_pixels {_below(media.image_max_pixels)} or video_maxlen {_below(media.video_maxlen)}"
    if settings.training.loss_chunk_tokens > 256:
        yield f"loss_chunk_tokens below {settings.training.loss_chunk_tokens}"


def _for_weights(settings: Settings) -> Iterator[str]:
    if settings.tuning.finetuning_type != "lora":
        yield "finetuning_type: lora"
    elif settings.model.quantization_bit is None:
        yield "quantization_bit: 4"
    if settings.training.optim not in _SMALL_OPTIMIZERS:
        yield "optim: adamw_8bit"
    parallel = settings.parallel
    if parallel.deepspeed is None and parallel.parallel != "fsdp2":
        yield "parallel: fsdp2 or deepspeed: zero3, which cut weights and optimiser over the processes"
    elif parallel.deepspeed is None and not parallel.cpu_offload:
        yield "cpu_offload: true"


def _below(value: int | None) -> str:
    return "set" if value is None else f"below {value}"


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
