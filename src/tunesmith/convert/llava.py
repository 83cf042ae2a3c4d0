"""XTuner's LLaVA, in parts, as one folder of transformers' LLaVA class with everything merged.

The parts that a training left as they were come from the models it started from. Joining and writing are
`tunesmith.compose`'s; here the trained parts are put in.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import LlavaImageProcessor

from tunesmith.compose.language_model import LanguageModel, load_language_model
from tunesmith.compose.llava import join
from tunesmith.compose.run import write_llava
from tunesmith.compose.vision_tower import FEATURE_LAYER, VisionTower, load_vision_tower
from tunesmith.config.model import ModelSettings
from tunesmith.convert.output import check_output
from tunesmith.convert.request import BaseModels
from tunesmith.convert.tower import merge_tower_adapter
from tunesmith.convert.training_config import TrainingConfig, read_training_config
from tunesmith.errors import ModelError
from tunesmith.export.target import whole_folder
from tunesmith.models.adapters.attach import attach_adapter
from tunesmith.models.files.locate import locate
from tunesmith.models.files.xtuner_llava import LlavaParts, find_llava_parts
from tunesmith.models.pth.projector import apply_projector, read_projector

RECORDED_CONFIG = "xtuner_config.py"
"""XTuner's copy of the training's config."""


def convert_llava_folder(folder: Path, bases: BaseModels, output: Path) -> str:
    """Join the LLaVA that XTuner wrote into `folder`; what was done, for the user. Raises what `join_llava` raises."""
    recorded = folder / RECORDED_CONFIG
    config = read_training_config(recorded) if recorded.is_file() else TrainingConfig()
    return join_llava(find_llava_parts(folder), bases, output, config=config)


def join_llava(parts: LlavaParts, bases: BaseModels, output: Path, *, config: TrainingConfig) -> str:
    """Write the LLaVA of `parts` into `output`; what was done, for the user.

    config: what is known of the training, for how it looked at pictures

    Raises UsageError for an output in the way or models of the wrong kind, ModelError for parts that do not fit.
    """
    check_output(output)
    speaking = parts.language_model or locate(bases.language_model, ModelSettings())
    seeing = parts.vision_tower or locate(bases.vision_tower, ModelSettings())
    projector = read_projector(parts.projector)
    language = _load_language(speaking, parts)
    tower = _load_tower(seeing, parts.vision_adapter, like=language, config=config)
    model = join(language, tower, seed=0)  # its random projector is replaced on the next line
    apply_projector(model, projector, parts.projector)
    model.config.vision_feature_layer = FEATURE_LAYER if config.feature_layer is None else config.feature_layer
    with whole_folder(output) as folder:
        write_llava(model, language, tower, folder)
    return (
        f"wrote {output}: {speaking}{' + its adapter' if parts.language_adapter else ''}, "
        f"{seeing}{' + its adapter' if parts.vision_adapter else ''}, and the trained projector\n"
        f"it trains, exports and chats like any model: tunesmith chat {output} --image PICTURE"
    )


def _load_language(folder: Path, parts: LlavaParts) -> LanguageModel:
    if folder == parts.language_model:
        # Taken by itself: a folder with a projector in it is a LLaVA in parts, which does not load.
        with tempfile.TemporaryDirectory() as alone:
            for file in folder.iterdir():
                if file.is_file():
                    (Path(alone) / file.name).symlink_to(file.resolve())
            return load_language_model(Path(alone))
    language = load_language_model(folder)
    if parts.language_adapter is None:
        return language
    merged: Any = attach_adapter(language.model, parts.language_adapter, trains=False).merge_and_unload()
    return replace(language, model=merged)


def _load_tower(folder: Path, adapter: Path | None, *, like: LanguageModel, config: TrainingConfig) -> VisionTower:
    tower = load_vision_tower(folder, dtype=like.dtype)
    if tower.num_additional != 1:
        raise ModelError(
            f"{folder} has no class token before its patches; XTuner's LLaVA leaves the first vector out, so it was "
            "not trained with this tower: give a CLIP model"
        )
    if config.pads_to_square is not False:
        tower = replace(tower, image_processor=_padding_to_square(tower.image_processor))
    if adapter is None:
        return tower
    with tempfile.TemporaryDirectory() as scratch:
        return merge_tower_adapter(tower, adapter, scratch=Path(scratch))


def _padding_to_square(processor: Any) -> Any:
    """As XTuner prepares pictures for training on conversations, and in its chat."""
    kept = ("size", "crop_size", "resample", "image_mean", "image_std", "do_resize", "do_center_crop", "do_normalize")
    content = processor.to_dict()
    return LlavaImageProcessor(**{name: content[name] for name in kept if name in content}, do_pad=True)
