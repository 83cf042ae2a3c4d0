"""Adapters by PEFT: a new one put on, stored ones attached, merged or taken further.

Which layers get one is decided in `lora_targets`; how they are written in `saving`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from peft.utils import set_peft_model_state_dict
from transformers import PreTrainedModel

from tunesmith import log
from tunesmith.config.model import ModelSettings
from tunesmith.config.settings import Settings
from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.adapters.native import check_published_layout, read_adapter, with_native_names
from tunesmith.models.adapters.stored import PREFIX
from tunesmith.models.adapters.targets import (
    compact_targets,
    projector_in_full,
    resolve_targets,
    tower_lora,
    whole_alpha,
)
from tunesmith.models.files.locate import locate
from tunesmith.models.files.score_weight import read_value_head
from tunesmith.models.files.trained import ADAPTER_CONFIG
from tunesmith.models.files.weight_files import check_weight_file, read_json
from tunesmith.models.parts import ModelParts, find_parts, input_embedding, output_embedding, weight_of
from tunesmith.models.quantization import is_quantized
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.score_head import SCORE_WEIGHT, put_score_head, score_head

_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_NAME = "default"


def train_adapter(model: PreTrainedModel, settings: Settings) -> PeftModel:
    """Put the adapter that trains on `model`: a new one, or the last of `adapter_name_or_path`.

    Everything of the model itself is frozen, but for `additional_target`. Earlier adapters are merged into it.
    Raises UsageError or ModelError for adapters and targets that do not fit.
    """
    tuning = with_native_names(settings.tuning, model.config)
    adapted = _old_or_new(model, settings.model_copy(update={"tuning": tuning}))
    if settings.tuning.adapter_layout == "published":
        check_published_layout(adapted)
    return adapted


def _old_or_new(model: PreTrainedModel, settings: Settings) -> PeftModel:
    folders = adapter_folders(settings.model)
    if folders and not settings.tuning.create_new_adapter:
        model = merge_adapters(model, folders[:-1])
        log.info(f"going on with the adapter in {folders[-1]}")
        return attach_adapter(model, folders[-1], trains=True)
    model = merge_adapters(model, folders)
    if folders:
        log.info(
            "a new adapter on top of merged ones: to use it later, give them all as adapter_name_or_path "
            f"({', '.join(map(str, folders))}, then the new one)"
        )
    return new_adapter(model, find_parts(model), settings)


def new_adapter(model: PreTrainedModel, parts: ModelParts, settings: Settings) -> PeftModel:
    """`model` with a fresh LoRA adapter (arXiv 2106.09685) that leaves its output unchanged until it has trained."""
    tuning = settings.tuning
    targets = resolve_targets(model, parts, tuning)
    extra = [*_additional_modules(model, settings), *_open_projector(model, parts, tuning)]
    tower = tower_lora(targets, parts, tuning)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM if score_head(model) is None else TaskType.SEQ_CLS,
        r=tuning.lora_rank,
        lora_alpha=whole_alpha("lora_alpha", tuning.lora_alpha, rank=tuning.lora_rank),
        rank_pattern=tower.rank,
        alpha_pattern=tower.alpha,
        lora_dropout=tuning.lora_dropout,
        bias=tuning.lora_bias,
        use_rslora=tuning.use_rslora,
        use_dora=tuning.use_dora,
        target_modules=compact_targets(model, targets),
        modules_to_save=extra or None,
        ensure_weight_tying=bool(extra) and _is_tied_and_saved(model, extra),
    )
    with quiet_transformers():
        return _wrap(model, config)


def _wrap(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    adapted = get_peft_model(model, config, adapter_name=_NAME)
    assert isinstance(adapted, PeftModel)
    if score_head(model) is not None:
        _save_score_head_once(adapted)
    return adapted


def _save_score_head_once(adapted: PeftModel) -> None:
    """PEFT adds every name that a head may have, whatever is there already."""
    config: Any = adapted.peft_config[_NAME]
    config.modules_to_save = [name for name in dict.fromkeys(config.modules_to_save) if name != "classifier"]


def _open_projector(model: PreTrainedModel, parts: ModelParts, tuning: TuningSettings) -> list[str]:
    whole = projector_in_full(model, parts, tuning)
    if whole:
        log.info(f"the projector ({', '.join(whole)}) trains in full beside the adapter")
    return whole


def _additional_modules(model: PreTrainedModel, settings: Settings) -> list[str]:
    """`additional_target`, or the embeddings where `resize_vocab` may have grown them: new rows must train."""
    wanted = list(settings.tuning.additional_target)
    if not wanted and settings.model.resize_vocab:
        ends = (input_embedding(model), output_embedding(model))
        wanted = [
            name.rpartition(".")[2] for name, module in model.named_modules() if any(module is end for end in ends)
        ]
        log.info(f"resize_vocab: {', '.join(wanted)} train in full beside the adapter")
    names = [name for name, _ in model.named_modules()]
    absent = [end for end in wanted if not any(name == end or name.endswith("." + end) for name in names)]
    if absent:
        leaves = sorted({name.rpartition(".")[2] for name in names} - {""} - {str(number) for number in range(1000)})
        raise UsageError(f"additional_target: there is no module {', '.join(absent)}; there are {', '.join(leaves)}")
    return wanted


def _is_tied_and_saved(model: PreTrainedModel, extra: list[str]) -> bool:
    head, embedding = output_embedding(model), input_embedding(model)
    if head is None or weight_of(head) is not weight_of(embedding):
        return False
    ends = [name for name, module in model.named_modules() if module is head or module is embedding]
    return any(name.rpartition(".")[2] in extra for name in ends)


def adapter_folders(model: ModelSettings) -> list[Path]:
    """Local folders of `adapter_name_or_path`, in order; each holds an adapter in PEFT's layout."""
    return [find_adapter(name, model) for name in model.adapter_name_or_path]


def find_adapter(name: str, model: ModelSettings) -> Path:
    """The folder of one adapter (a run, a checkpoint, a hub repository). Raises ModelError if it holds none."""
    inside = Path(model.adapter_folder) / name if model.adapter_folder else None
    folder = locate(str(inside) if inside is not None and inside.is_dir() else name, model)
    if (folder / ADAPTER_CONFIG).is_file():
        return folder
    inner = sorted(str(file.parent.relative_to(folder)) for file in folder.glob(f"**/{ADAPTER_CONFIG}"))
    hint = f"; did you mean {folder / inner[-1]}?" if inner else "; give the folder that has one"
    raise ModelError(f"adapter_name_or_path: {folder} has no {ADAPTER_CONFIG}{hint}")


def merge_adapters(model: PreTrainedModel, folders: list[Path]) -> PreTrainedModel:
    """`model` with every adapter of `folders` added into its weights, in order."""
    if folders and is_quantized(model):
        raise UsageError(
            "adapters cannot be merged into quantised weights without loss: export the merged model first, or leave "
            "quantization_bit out"
        )
    for folder in folders:
        model = attach_adapter(model, folder, trains=False).merge_and_unload()
        log.info(f"merged the adapter in {folder}")
    return model


def attach_adapter(model: PreTrainedModel, folder: Path, *, trains: bool) -> PeftModel:
    """`model` with the stored adapter of `folder` on it, its weights trainable or not.

    Raises ModelError if its files are damaged, or if it belongs to a model of another shape.
    """
    _check_adapter_weights(folder)
    read_json(folder / ADAPTER_CONFIG)
    name_or_path = str(model.name_or_path)
    try:
        with quiet_transformers():
            config, stored = read_adapter_for(model, folder)
            config.inference_mode = not trains
            adapted = _wrap(model, config)
            report: Any = set_peft_model_state_dict(adapted, stored, adapter_name=_NAME)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(_does_not_fit(folder, name_or_path, str(error).strip().splitlines()[0])) from error
    absent = [name for name in report.missing_keys if "lora_" in name]
    if report.unexpected_keys or absent:
        example = [*report.unexpected_keys, *absent][0]
        raise ModelError(_does_not_fit(folder, name_or_path, f"{example} has no counterpart"))
    return adapted


def read_adapter_for(model: PreTrainedModel, folder: Path) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    """PEFT's config and weights of the adapter in `folder`; if it scores, `model` then has a head to put them in.

    Where `model` has a head and the adapter none, as when one that answers goes on to score, the head is the model's.
    Raises what PEFT raises for files it cannot read, ModelError for damaged ones.
    """
    config, weights = read_adapter(folder, model.config)
    name, value_head = f"{PREFIX}{SCORE_WEIGHT}", read_value_head(folder)
    stored = dict(weights) if value_head is None else {**weights, name: value_head}
    if name in stored and score_head(model) is None:
        put_score_head(model, stored[name])
    if (head := score_head(model)) is not None:
        stored.setdefault(name, weight_of(head).detach())
        config.task_type = TaskType.SEQ_CLS  # what PEFT calls a model with such a head, which it then saves whole
    return config, stored


def _check_adapter_weights(folder: Path) -> None:
    present = [folder / name for name in _ADAPTER_WEIGHTS if (folder / name).is_file()]
    if not present:
        raise ModelError(f"{folder} has an {ADAPTER_CONFIG} but no {_ADAPTER_WEIGHTS[0]}: copy or download it again")
    check_weight_file(present[0])


def _does_not_fit(folder: Path, model: str, detail: str) -> str:
    return (
        f"the adapter in {folder} does not fit the model {model} ({detail}); it was trained on another base model, "
        f"which base_model_name_or_path in its {ADAPTER_CONFIG} names"
    )


def is_adapter_weight(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter rather than to the model below it."""
    return ".lora_" in name or ".modules_to_save." in name
