"""The two halves of an exported folder: the files beside the weights, and the weights.

Which file comes from where is decided here; how files are copied and weights merged is other modules' work.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from tunesmith import log
from tunesmith.chat.template import ChatTemplate
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.encode import build_template
from tunesmith.export.carried import adjust_config, carry_template, name_scoring_class
from tunesmith.export.files import copy_configs, copy_other_files, copy_preprocessing, has_tokenizer
from tunesmith.export.merge import NotByWeightError, num_embedding_rows, plan_merge, write_merged
from tunesmith.export.shards import ShardWriter
from tunesmith.export.stored import stored_format
from tunesmith.export.untouched import keep_untouched
from tunesmith.export.whole import save_merged_whole
from tunesmith.infer.source import ModelSource
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor

_FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """Names of the weight files, and the number format most of them is in."""

    files: tuple[str, ...]
    dtype: torch.dtype


def write_files(source: ModelSource, folder: Path, preprocessor: Preprocessor) -> int:
    """Every file but the weights: the base's, over them what the run changed. Returns their number.

    `preprocessor` is the one the model was trained with.
    """
    origin = source.origin or source.base
    copy_other_files(origin, folder)
    copy_configs(source.base, folder)
    if source.trained is not None and has_tokenizer(source.trained) and _has_other_tokens(folder, preprocessor):
        copy_preprocessing(source.trained, folder)
        log.info("the tokenizer is the run's: it has other tokens than the base's")
    _write_template(source, folder, preprocessor)
    return sum(file.is_file() for file in folder.rglob("*"))


def write_weights(source: ModelSource, folder: Path, preprocessor: Preprocessor) -> WrittenWeights:
    """Merged weights in files of `export_size`, and what config.json says about them."""
    settings = source.settings.export
    dtype = _FORMATS.get(source.settings.model.infer_dtype)
    writer = ShardWriter(folder, shard_gb=settings.export_size, legacy=settings.export_legacy_format)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as merged:
        try:
            _require_rows(source, preprocessor)
            plan = plan_merge(source.base, source.adapters)
        except NotByWeightError as reason:
            log.info(f"{reason}; the whole model is merged in memory")
            save_merged_whole(source, Path(merged), dtype=dtype or stored_format(source.base))
            copy_configs(Path(merged), folder)
            plan = plan_merge(Path(merged))
        untied = write_merged(plan, writer, dtype=dtype)
        keep_untouched(source.origin or source.base, writer, written=plan.keys)
        names = writer.finish()
    adjust_config(folder, untied=untied, dtype=dtype)
    if plan.gives_scores:
        name_scoring_class(folder, pad_token_id=preprocessor.tokenizer.pad_token_id)
    return WrittenWeights(tuple(names), writer.main_dtype)


def _has_other_tokens(folder: Path, preprocessor: Preprocessor) -> bool:
    if not has_tokenizer(folder):
        return True
    written = read_preprocessor(folder, media=MediaSettings())
    return bool(written.tokenizer.get_vocab() != preprocessor.tokenizer.get_vocab())


def _write_template(source: ModelSource, folder: Path, preprocessor: Preprocessor) -> None:
    """The template the model was trained with, where the one that was copied writes something else."""
    if source.settings.data.template is None and preprocessor.chat_template is None:
        return
    used = build_template(preprocessor, source.settings.data)
    written = read_preprocessor(folder, media=MediaSettings())
    own = written.chat_template
    known = None if own is None else ChatTemplate(own, special_tokens=written.special_tokens, options=used.options)
    if carry_template(folder, used=used, own=known):
        log.info(f"the chat template is the one the model was trained with ({used.name})")


def _require_rows(source: ModelSource, preprocessor: Preprocessor) -> None:
    if source.settings.model.resize_vocab and len(preprocessor.tokenizer) > num_embedding_rows(source.base):
        raise NotByWeightError("the vocabulary has grown")
