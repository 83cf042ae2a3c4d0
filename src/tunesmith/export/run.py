"""`tunesmith export` from a model source to a verified folder: checks, weights, files, verdict, record.

Each step is a module of its own; this one puts them in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

import tunesmith
from tunesmith.config.settings import Settings
from tunesmith.errors import RunError, UsageError
from tunesmith.export.memory import free_memory_bytes
from tunesmith.export.probe import build_probe
from tunesmith.export.target import check_target, whole_folder, write_record
from tunesmith.export.verify import Verdict, verify
from tunesmith.export.write import write_files, write_weights
from tunesmith.infer.open import open_preprocessor
from tunesmith.infer.source import ModelSource
from tunesmith.models.files.weight_files import check_config, weight_files
from tunesmith.models.preprocessing.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and whether it is the model that was asked for."""

    folder: Path
    weight_files: tuple[str, ...]
    num_other_files: int
    verdict: Verdict

    def describe(self) -> str:
        """The lines a user reads."""
        number = len(self.weight_files)
        files = f"{number} weight file{'s' * (number != 1)} and {self.num_other_files} others"
        return f"exported to {self.folder}: {files}\n{self.verdict}"


def export(source: ModelSource) -> ExportReport:
    """Merge, write and verify as the source's settings say.

    Raises UsageError for settings or a folder in the way, ModelError for models that do not fit together, RunError
    where the disk is full or the export turns out not to be the model it was made from. Nothing is left then.
    """
    source = _for_export(source)
    target = Path(_require_target(source.settings)).expanduser().absolute()
    _check(source, target)
    preprocessor = open_preprocessor(source)
    with whole_folder(target) as folder:
        num_files = write_files(source, folder, preprocessor)
        weights = write_weights(source, folder, preprocessor)
        verdict = _verify(source, folder, preprocessor, weights.dtype)
        _record(source, folder, verdict)
    return ExportReport(target, weights.files, num_files, verdict)


def _for_export(source: ModelSource) -> ModelSource:
    settings = source.settings
    on_cpu = settings.export.export_device == "cpu" or settings.training.use_cpu
    model = settings.model.model_copy(update={"quantization_bit": None})
    training = settings.training.model_copy(update={"use_cpu": on_cpu})
    return replace(source, settings=settings.model_copy(update={"model": model, "training": training}))


def _require_target(settings: Settings) -> str:
    if settings.export.export_dir is None:
        raise UsageError("export_dir is missing; say where to write, for example export_dir=merged")
    return settings.export.export_dir


def _check(source: ModelSource, target: Path) -> None:
    quantized = check_config(source.base).get("quantization_config")
    if quantized:
        raise UsageError(
            f"{source.base} is quantised ({quantized.get('quant_method', 'unknown method')}); merging into rounded "
            "weights loses what was learned: give the unquantised model as model_name_or_path"
        )
    size_bytes = sum(file.stat().st_size for file in weight_files(source.base))
    check_target(
        target,
        sources=tuple(folder for folder in (source.base, *source.adapters, source.trained) if folder),
        copied=source.origin or source.base,
        overwrite=source.settings.training.overwrite_output_dir,
        needed_bytes=size_bytes,
    )


def _verify(source: ModelSource, folder: Path, preprocessor: Preprocessor, dtype: torch.dtype) -> Verdict:
    exported = ModelSource(_without_template(source.settings), folder)
    asked, name = build_probe(preprocessor, source.settings)
    again, _ = build_probe(open_preprocessor(exported), exported.settings)
    if not torch.equal(asked.inputs["input_ids"], again.inputs["input_ids"]):
        raise RunError("the exported tokenizer and template give other ids than those of the model; nothing was kept")
    verdict = verify(source, exported, batch=again, probe=name, dtype=dtype, free_bytes=_free_bytes(source))
    if verdict.matches is False:
        raise RunError(f"the export is not the model it was made from: {verdict}; nothing was kept")
    return verdict


def _free_bytes(source: ModelSource) -> int | None:
    """Memory of the device that `load_model` will choose."""
    on_gpu = torch.cuda.is_available() and not source.settings.training.use_cpu
    return torch.cuda.mem_get_info()[0] if on_gpu else free_memory_bytes()


def _without_template(settings: Settings) -> Settings:
    """The exported folder must do without the run's settings: its template is its own."""
    return settings.model_copy(update={"data": settings.data.model_copy(update={"template": None})})


def _record(source: ModelSource, folder: Path, verdict: Verdict) -> None:
    write_record(
        folder,
        {
            "tunesmith": tunesmith.__version__,
            "base": source.settings.model.model_name_or_path,
            "adapters": [str(adapter) for adapter in source.adapters],
            "trained": None if source.trained is None else str(source.trained),
            "verified": verdict.matches,
            "largest_logit_difference": verdict.difference,
            "verdict": str(verdict),
        },
    )
