"""Which files of a model folder go along with its weights, and copying them unchanged.

Knows names only; what is in a file is not looked at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

_WEIGHTS_AT_ROOT = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model*.bin.index.json",
    "adapter_model.bin",
    "*.h5",
    "*.msgpack",
    "*.gguf",
    "*.onnx*",
    "consolidated*",
)
"""The base's own weights in any format: stale beside the merged ones."""

_STATE_AT_ROOT = ("optimizer.pt", "scheduler.pt", "rng_state*.pth", "trainer_state.json", "training_args.bin")
"""What a trainer's checkpoint holds beside the model."""

_RUN_RECORDS = (
    "run.yaml",
    "manifest.json",
    "*.jsonl",
    "data_report.json",
    "training_loss.png",
    "status.json",
    "log.txt",
    "adapter_config.json",
)
"""What a run folder holds beside its model; such a folder may be the base of the next run."""

_RUN_FOLDERS = frozenset({"logs", "tensorboard"})

_FOREIGN_FOLDERS = frozenset({"original", "onnx", "openvino", "metal", "checkpoints"})
"""Folders of a repository that hold the weights once more, in another format."""

_PREPROCESSING = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*preprocessor_config.json",
    "processor_config.json",
)
"""Tokenizer, processor and template."""

_CONFIGS = ("config.json", "generation_config.json")


def copy_other_files(source: Path, target: Path) -> None:
    """Copy everything of a model folder but its weights, byte for byte."""
    for file in _other_files(source):
        destination = target / file.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, destination)  # follows the links of a hub cache


def copy_configs(source: Path, target: Path) -> None:
    """Copy config.json and generation_config.json over what is there."""
    _copy_matching(source, target, _CONFIGS)


def copy_preprocessing(source: Path, target: Path) -> None:
    """Replace tokenizer, processor and template in `target` by those of `source`."""
    for file in [*target.iterdir()]:
        if file.is_file() and _matches(file.name, _PREPROCESSING):
            file.unlink()
    _copy_matching(source, target, _PREPROCESSING)


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer was saved in `folder`."""
    return (folder / "tokenizer_config.json").is_file()


def _other_files(source: Path) -> Iterator[Path]:
    is_run = (source / "run.yaml").is_file()
    unwanted = _WEIGHTS_AT_ROOT + _STATE_AT_ROOT + (_RUN_RECORDS if is_run else ())
    foreign = _FOREIGN_FOLDERS | (_RUN_FOLDERS if is_run else frozenset())
    for file in sorted(source.rglob("*")):
        inside = file.relative_to(source).parts
        if any(part.startswith(".") for part in inside) or inside[0] in foreign or not file.is_file():
            continue
        if len(inside) == 1 and _matches(file.name, unwanted):
            continue
        yield file


def _copy_matching(source: Path, target: Path, patterns: tuple[str, ...]) -> None:
    for file in sorted(source.iterdir()):
        if file.is_file() and _matches(file.name, patterns):
            shutil.copyfile(file, target / file.name)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
