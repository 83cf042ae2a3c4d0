"""`tunesmith convert pth_to_hf`: a checkpoint of XTuner's as a folder that loads.

adapter of a language model                 PEFT's two files
language model trained in full              a model folder
anything of a LLaVA                         one folder of transformers' LLaVA class, or XTuner's folder of parts
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tunesmith import log
from tunesmith.compose.vision_tower import load_vision_tower
from tunesmith.config.model import ModelSettings
from tunesmith.convert.llava import join_llava
from tunesmith.convert.lora import write_adapter
from tunesmith.convert.output import check_output
from tunesmith.convert.request import BaseModels, PthRequest
from tunesmith.convert.tower import replace_tower_weights
from tunesmith.convert.training_config import LoraRecipe, TrainingConfig, parse_training_config, read_training_config
from tunesmith.convert.whole import write_whole
from tunesmith.errors import ModelError, UsageError
from tunesmith.export.merge import plan_merge
from tunesmith.export.stored import stored_format
from tunesmith.export.target import whole_folder
from tunesmith.models.files.locate import locate
from tunesmith.models.files.xtuner_llava import (
    LANGUAGE_ADAPTER,
    PROJECTOR,
    VISION_ADAPTER,
    VISION_TOWER,
    find_llava_parts,
)
from tunesmith.models.pth.checkpoint import Checkpoint, is_adapter, read_checkpoint
from tunesmith.models.pth.projector import to_native
from tunesmith.models.quiet import quiet_transformers


def convert_pth(request: PthRequest) -> str:
    """Convert, and say what was written.

    Raises UsageError for what must be given and is not, ModelError for checkpoints that cannot be read or do not fit.
    """
    check_output(request.output)
    saved = read_checkpoint(request.checkpoint)
    config = _training_config(request, saved)
    if not saved.reads_images:
        with whole_folder(request.output) as folder:
            written = _write_language_model(saved, folder, config, request)
        return f"wrote {request.output}: {written}"
    if request.keeps_parts:
        with whole_folder(request.output) as folder:
            _write_parts(saved, folder, config, request)
        return f"wrote {request.output}: a LLaVA in XTuner's layout; join it with `tunesmith convert xtuner_llava`"
    bases = BaseModels(_named(config.language_model, "language_model"), _named(config.vision_tower, "vision_tower"))
    with tempfile.TemporaryDirectory(dir=_existing_parent(request.output), prefix=".parts-") as place:
        _write_parts(saved, Path(place), config, request)
        return join_llava(find_llava_parts(Path(place)), bases, request.output, config=config)


def _training_config(request: PthRequest, saved: Checkpoint) -> TrainingConfig:
    """What is known of the training: from the command line, else from the config, else from the checkpoint."""
    config = TrainingConfig()
    if request.config is not None:
        config = read_training_config(request.config)
    elif saved.config_text is not None:
        try:
            config = parse_training_config(saved.config_text)
        except SyntaxError as error:
            log.warning(f"the config kept in {saved.source} cannot be read ({error.msg}); options take its place")
    language_lora, vision_lora = (_with_alpha(lora, request) for lora in (config.language_lora, config.vision_lora))
    return replace(
        config,
        language_model=request.language_model or config.language_model,
        vision_tower=request.vision_tower or config.vision_tower,
        language_lora=language_lora,
        vision_lora=vision_lora,
    )


def _with_alpha(lora: LoraRecipe | None, request: PthRequest) -> LoraRecipe | None:
    if request.lora_alpha is None:
        return lora
    return LoraRecipe(request.lora_alpha) if lora is None else replace(lora, alpha=request.lora_alpha)


def _write_language_model(saved: Checkpoint, folder: Path, config: TrainingConfig, request: PthRequest) -> str:
    base = _named(config.language_model, "language_model")
    if is_adapter(saved.language_model):
        write_adapter(
            saved.language_model, folder, base=base, recipe=_known(config.language_lora), task_type="CAUSAL_LM"
        )
        _check_fit(saved.source, base, folder)
        return f"an adapter on {base}; use it as adapter_name_or_path, or merge it: tunesmith export {request.output} …"
    place = locate(base, ModelSettings())
    dtype = torch.float32 if request.in_float32 else None
    write_whole(saved.language_model, folder, base=place, shard_gb=request.shard_gb, dtype=dtype)
    return f"a model, its other files from {base}"


def _check_fit(source: Path, base: str, adapter: Path) -> None:
    """Raise ModelError if the base is at hand and the adapter does not fit it."""
    if not (Path(base) / "config.json").is_file():
        return
    try:
        plan_merge(Path(base), (adapter,))
    except ModelError as error:
        raise ModelError(
            f"{source} was not trained on {base}, or is damaged; give the right one as --language_model: {error}"
        ) from error


def _write_parts(saved: Checkpoint, folder: Path, config: TrainingConfig, request: PthRequest) -> None:
    """The folder that XTuner writes; parts that did not train are not in it."""
    _write_projector(saved, folder / PROJECTOR)
    if is_adapter(saved.language_model):
        _write_language_model(saved, folder / LANGUAGE_ADAPTER, config, request)
    elif saved.language_model:
        _write_language_model(saved, folder, config, request)
    if not saved.vision_tower:
        return
    tower = _named(config.vision_tower, "vision_tower")
    if is_adapter(saved.vision_tower):
        recipe = _known(config.vision_lora)
        write_adapter(saved.vision_tower, folder / VISION_ADAPTER, base=tower, recipe=recipe, task_type=None)
    else:
        _write_tower(saved.vision_tower, folder / VISION_TOWER, locate(tower, ModelSettings()))


def _write_projector(saved: Checkpoint, folder: Path) -> None:
    native = to_native(saved.projector, saved.source)
    folder.mkdir(parents=True)
    config = {
        "model_type": "projector",
        "architectures": ["ProjectorModel"],
        "visual_hidden_size": native["linear_1.weight"].shape[1],
        "llm_hidden_size": native["linear_1.weight"].shape[0],
        "depth": 2,
        "hidden_act": "gelu",
        "bias": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = {name: tensor.contiguous() for name, tensor in saved.projector.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _write_tower(weights: Mapping[str, torch.Tensor], folder: Path, base: Path) -> None:
    tower = load_vision_tower(base, dtype=stored_format(base))
    replace_tower_weights(tower.model, weights, base)
    with quiet_transformers():
        tower.model.save_pretrained(folder)
        tower.image_processor.save_pretrained(folder)


def _named(name: str | None, option: str) -> str:
    if name is None:
        raise UsageError(
            f"which {option.replace('_', ' ')} the training started from is said neither by a config nor by the "
            f"checkpoint; give --{option} (a folder, or a name on the hub)"
        )
    return name


def _known(recipe: LoraRecipe | None) -> LoraRecipe:
    if recipe is None:
        raise UsageError(
            "the checkpoint holds an adapter without its alpha, and no config says it; give XTuner's config, or "
            "--lora_alpha (16 in most of XTuner's configs, 256 for the language model of its LLaVA)"
        )
    return recipe


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.is_dir())
