"""`tunesmith compose llava` from two models to one folder: checks, halves, joined model, files beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlavaForConditionalGeneration, LlavaProcessor

from tunesmith import log
from tunesmith.compose.chat_template import with_images
from tunesmith.compose.language_model import LanguageModel, check_language_model, load_language_model
from tunesmith.compose.llava import join
from tunesmith.compose.request import Request
from tunesmith.compose.vision_tower import VisionTower, check_vision_tower, load_vision_tower
from tunesmith.config.model import MediaSettings, ModelSettings
from tunesmith.errors import ModelError, RunError, UsageError
from tunesmith.export.target import whole_folder
from tunesmith.models.files.locate import locate
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.preprocessing.processor import read_preprocessor
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.saving import save_model

_PROBE = " What is it? 图里有什么\nIt's 1 ring."


@dataclass(frozen=True, slots=True)
class ComposeReport:
    """What was written."""

    folder: Path
    num_parameters: int
    num_projector_parameters: int
    num_image_tokens: int
    image_token: str

    def describe(self) -> str:
        """The lines a user reads."""
        return (
            f"wrote {self.folder}: {self.num_parameters / 1e6:,.1f} million parameters, of which "
            f"{self.num_projector_parameters / 1e6:,.1f} million in a projector that knows nothing yet\n"
            f"a picture is {self.num_image_tokens} tokens ({self.image_token}); next, train the projector alone on "
            "captions, then the rest"
        )


def compose_llava(request: Request) -> ComposeReport:
    """Join the two models of `request` and write its folder.

    Raises UsageError for models of the wrong kind and an output in the way, ModelError for models that cannot be read
    or joined, RunError where the disk is too small. Nothing is left then.
    """
    output = request.output.expanduser().absolute()
    speaking, seeing = (locate(name, ModelSettings()) for name in (request.language_model, request.vision_tower))
    check_language_model(speaking)
    check_vision_tower(seeing)
    _check_output(output, (speaking, seeing), overwrite=request.overwrite_output_dir)
    language = load_language_model(speaking)
    tower = load_vision_tower(seeing, dtype=language.dtype)
    log.info(f"all weights are kept in the language model's format ({str(language.dtype).removeprefix('torch.')})")
    model = join(language, tower, seed=request.seed)
    with whole_folder(output) as folder:
        write_llava(model, language, tower, folder)
    return ComposeReport(
        output,
        model.num_parameters(),
        sum(parameter.numel() for parameter in model.model.multi_modal_projector.parameters()),
        tower.num_image_tokens,
        language.image_token,
    )


def write_llava(
    model: LlavaForConditionalGeneration, language: LanguageModel, tower: VisionTower, folder: Path
) -> None:
    """Write the joined `model` and the processor made of both halves' into `folder`."""
    save_model(model, folder)
    _add_flat_rope_settings(folder / "config.json")
    _write_processor(_build_processor(language, tower), folder)
    _require_same_ids(language, folder)


def _check_output(output: Path, sources: tuple[Path, ...], *, overwrite: bool) -> None:
    if any(source.is_relative_to(output.resolve()) for source in sources):
        raise UsageError(f"--output {output} holds one of the models that are joined; choose another folder")
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; choose a folder")
    if output.is_dir() and any(output.iterdir()):
        if not (output / "config.json").is_file():
            raise UsageError(f"--output {output} is not empty and holds no model; choose another folder")
        if not overwrite:
            raise UsageError(
                f"--output {output} holds a model already; choose another folder, or set overwrite_output_dir=true"
            )
    needed = sum(file.stat().st_size for source in sources for file in weight_files(source))
    existing = next(parent for parent in output.parents if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise RunError(
            f"the joined model needs about {needed / 1e9:.1f} GB and {existing} has {free / 1e9:.1f} GB free; free "
            "some, or choose an --output on another disk"
        )


def _build_processor(language: LanguageModel, tower: VisionTower) -> Any:
    template = with_images(language.chat_template, image_token=language.image_token)
    language.tokenizer.chat_template = template
    build: Any = LlavaProcessor
    return build(
        image_processor=tower.image_processor,
        tokenizer=language.tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy=tower.select_strategy,
        num_additional_image_tokens=tower.num_additional,
        image_token=language.image_token,
        chat_template=template,
    )


def _add_flat_rope_settings(config_file: Path) -> None:
    """Say the rope settings under transformers 4's keys too: what reads those would take the defaults else."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    rope = dict(config["text_config"].get("rope_parameters") or {})
    if "rope_theta" not in rope:
        return  # no rope, or one for each kind of layer, which has no flat form
    theta = rope.pop("rope_theta")
    scaling = None if rope.get("rope_type") == "default" else rope
    config["text_config"] |= {"rope_theta": theta, "rope_scaling": scaling}
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_processor(processor: Any, folder: Path) -> None:
    with quiet_transformers():
        processor.save_pretrained(folder)
        # transformers 5 keeps this inside processor_config.json; what reads published LLaVA models looks for it here.
        processor.image_processor.save_pretrained(folder)


def _require_same_ids(language: LanguageModel, folder: Path) -> None:
    """Raise ModelError unless the tokenizer that was written reads as the language model's own does."""
    written = read_preprocessor(folder, media=MediaSettings()).tokenizer
    for text in (_PROBE, language.image_token + _PROBE):
        expected, found = language.tokenizer(text)["input_ids"], written(text)["input_ids"]
        if found != expected:
            raise ModelError(
                f"transformers reads the tokenizer of {language.config.model_type} otherwise beside a LLaVA: {text!r} "
                f"becomes {found} instead of {expected}"
            )
