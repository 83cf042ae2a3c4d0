"""The half that sees: a vision transformer that gives one vector for each patch of a picture of fixed size.

CLIP's and SigLIP's, alone or as half of the model that also reads text. How many vectors there are, and whether one
more stands before them, is seen by showing it a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    PretrainedConfig,
    PreTrainedModel,
)

from tunesmith.errors import ModelError, UsageError
from tunesmith.models.files.weight_files import check_config, check_weights
from tunesmith.models.quiet import quiet_transformers

FEATURE_LAYER = -2
"""Features are taken before the last layer, as LLaVA does: the last one serves CLIP's comparison with texts."""


@dataclass(frozen=True, slots=True)
class VisionTower:
    """A vision model on the CPU, what prepares its pictures, and what comes out of it.

    patch_size:     pixels along a patch's edge
    num_patches:    of each picture
    num_additional: vectors beside those of the patches, such as CLIP's class token
    """

    model: PreTrainedModel
    config: PretrainedConfig
    image_processor: Any
    patch_size: int
    num_patches: int
    num_additional: int

    @property
    def select_strategy(self) -> Literal["default", "full"]:
        """LLaVA's word for which vectors are used: `default` drops the first one, `full` takes all."""
        return "default" if self.num_additional == 1 else "full"

    @property
    def num_image_tokens(self) -> int:
        """How many tokens stand for a picture."""
        return self.num_patches + (0 if self.num_additional == 1 else self.num_additional)


def check_vision_tower(folder: Path) -> PretrainedConfig:
    """The config of the half that sees. Raises UsageError where `folder` has none."""
    content = check_config(folder)
    model_type = content.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise UsageError(f"--vision_tower {folder} ({model_type}) is no model of transformers; give a CLIP or SigLIP")
    with quiet_transformers():
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise UsageError(f"--vision_tower {folder} ({model_type}) answers in text itself; give a CLIP or SigLIP")
    seeing: PretrainedConfig = config.vision_config if "vision_config" in config.sub_configs else config
    sizes = seeing.to_dict()
    if not isinstance(sizes.get("image_size"), int) or not isinstance(sizes.get("patch_size"), int):
        raise UsageError(
            f"--vision_tower {folder} ({model_type}) takes no pictures of one fixed size; give a CLIP or SigLIP"
        )
    return seeing


def load_vision_tower(folder: Path, *, dtype: torch.dtype) -> VisionTower:
    """The half of `folder` that sees, in `dtype`.

    Raises UsageError for folders of another kind, ModelError for what cannot be read or does not fit together.
    """
    model = _read_weights(folder, check_vision_tower(folder), dtype)
    processor = _read_image_processor(folder)
    with quiet_transformers():
        pixels = processor(images=Image.new("RGB", (64, 48)), return_tensors="pt")["pixel_values"].to(dtype)
    num_patches, num_vectors = _count(model, pixels, folder)
    patch_size = int(model.config.to_dict()["patch_size"])
    return VisionTower(model, model.config, processor, patch_size, num_patches, num_vectors - num_patches)


def _leave_out_pooling(model: Any) -> None:
    """SigLIP's head makes one vector of a picture, behind the layer that is used: it would only be in the way."""
    if "head" in dict(model.named_children()):
        del model.head
        model.use_head = False
        model.config.update({"vision_use_head": False})


def _read_weights(folder: Path, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    check_weights(folder)
    if type(config) not in MODEL_MAPPING:
        raise UsageError(f"--vision_tower {folder}: transformers has no vision model for {config.model_type}")
    model_class: Any = MODEL_MAPPING[type(config)]
    try:
        with quiet_transformers():
            # The other half, which reads text, is left where it is.
            model, report = model_class.from_pretrained(folder, config=config, dtype=dtype, output_loading_info=True)
    except (RuntimeError, ValueError, OSError, KeyError, EOFError) as error:
        raise ModelError(f"the weights of {folder} cannot be loaded: {error}") from error
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(f"{folder} lacks {len(absent)} weights of its vision model ({absent[0]}, …): fetch it again")
    _leave_out_pooling(model)
    tower: PreTrainedModel = model.eval()
    return tower


def _read_image_processor(folder: Path) -> Any:
    auto: Any = AutoImageProcessor
    try:
        with quiet_transformers():
            processor = auto.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder} has no usable preprocessor_config.json, which says how its pictures are prepared: copy it from "
            f"the model's repository ({error})"
        ) from error
    if processor.crop_size is None:
        # LLaVA's processor counts tokens by the crop's size, which models that do not crop leave out.
        processor.crop_size, processor.do_center_crop = processor.size, False
    return processor


@torch.inference_mode()
def _count(model: PreTrainedModel, pixels: torch.Tensor, folder: Path) -> tuple[int, int]:
    """Patches of a picture and vectors of the feature layer, for pixels (1, 3, height, width)."""
    sizes = model.config.to_dict()
    height, width = pixels.shape[-2:]
    if height != sizes["image_size"] or width != sizes["image_size"]:
        raise ModelError(
            f"{folder}: preprocessor_config.json makes pictures of {width} x {height} pixels, config.json says "
            f"{sizes['image_size']}; they do not belong together"
        )
    num_patches = (height // sizes["patch_size"]) * (width // sizes["patch_size"])
    vectors = model(pixel_values=pixels, output_hidden_states=True).hidden_states[FEATURE_LAYER]
    return num_patches, vectors.shape[1]
