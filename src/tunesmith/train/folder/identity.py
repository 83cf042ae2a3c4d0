"""What a resumed run must have in common with the run it continues, and what it may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith import log
from tunesmith.config.parallel import ParallelSettings
from tunesmith.config.settings import Settings
from tunesmith.errors import RunError

_CHANGES_NOTHING = {
    "output_dir",
    "resume_from_checkpoint",
    "overwrite_output_dir",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "loss_chunk_tokens",
    "disable_gradient_checkpointing",
    "logging_steps",
    "logging_first_step",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "save_only_model",
    "print_param_status",
    "report_to",
    "encoding_cache",
    "overwrite_cache",
    "preprocessing_num_workers",
    "run_name",
    "precompute_ref",
    "gradient_accumulation_steps",  # the identity has the micro-batches of a step, over all processes
    *(set(ParallelSettings.model_fields) - {"on_nan"}),
}


def run_identity(settings: Settings, *, data: str, model: str, reference: str | None = None) -> dict[str, Any]:
    """What decides which rows a step is made of and what it starts from; `data`, `model` and `reference` (of another
    model that it is compared with) are fingerprints.
    """
    training, tuning, data_settings = settings.training, settings.tuning, settings.data
    return {
        "seed": training.seed,
        "data_seed": training.data_seed,
        "disable_shuffling": training.disable_shuffling,
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "packing": settings.packs,
        "cutoff_len": data_settings.cutoff_len,
        "batch_tokens": data_settings.batch_tokens,
        "group_by_length": data_settings.group_by_length,
        "mix_strategy": data_settings.mix_strategy,
        "interleave_probs": list(data_settings.interleave_probs),
        "streaming": data_settings.streaming,
        "buffer_size": data_settings.buffer_size if data_settings.streaming else None,
        "val_size": data_settings.val_size,
        "optim": training.optim,
        "finetuning_type": tuning.finetuning_type,
        "the training data": data,
        "the model's files": model,
        **_of_stage(settings, reference),
    }


def _of_stage(settings: Settings, reference: str | None) -> dict[str, Any]:
    """What stages other than sft add."""
    stage = settings.training.stage
    if stage == "sft":
        return {}
    shared = {"share_prefix": settings.preference.share_prefix} if settings.training.rows == "pairs" else {}
    return {"stage": stage, "ref_model's files": reference, **shared}


def require_same_identity(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises RunError naming everything that differs."""
    differing = [
        f"{key} ({kept.get(key)} in the checkpoint, {now.get(key)} now)"
        for key in sorted(kept.keys() | now.keys())
        if kept.get(key) != now.get(key)
    ]
    if differing:
        raise RunError(
            f"the run cannot be resumed exactly, because these changed: {'; '.join(differing)}. Set them back, or "
            "start a new run in another output_dir"
        )


def warn_of_changed_settings(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Say which other settings differ: the run goes on with them, but not as it would have gone on without."""
    changed = [
        f"{key}: {kept[key]} → {now[key]}"
        for key in now
        if key in kept and key not in _CHANGES_NOTHING and kept[key] != now[key]
    ]
    if changed:
        log.warning(f"resumed with changed settings ({'; '.join(changed)}); the run goes on with the new ones")
