"""Whether the files of a model folder are whole, judged from names, sizes and headers before anything is loaded.

Half-finished downloads and git-lfs pointers otherwise surface as unreadable errors deep inside a loader. Each check
raises ModelError that names the file and the cure. Nothing here loads a tensor or knows an architecture.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tunesmith.errors import ModelError
from tunesmith.models.files.xtuner_llava import refuse_llava_folder

_LFS_POINTER = b"version https://git-lfs"
_HEADER_LIMIT_BYTES = 100_000_000
"""The largest header the safetensors format allows."""

_LARGE_BYTES = 1_000_000
"""From here on reading a JSON file costs a tenth of a second and more."""

_END_BYTES = 64

_SAFETENSORS = ("model.safetensors.index.json", "model.safetensors")
_OLDER = ("pytorch_model.bin.index.json", "pytorch_model.bin")
_TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("tekken.json", "tiktoken.model"),
)


def check_config(folder: Path) -> dict[str, Any]:
    """The parsed config.json of `folder`. Raises ModelError if it is absent, damaged, a git-lfs pointer, or not all."""
    refuse_llava_folder(folder)
    file = folder / "config.json"
    if file.is_file():
        return read_json(file)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter, not a model: give it as adapter_name_or_path, and its base model as "
            "model_name_or_path"
        )
    raise ModelError(f"{folder} has no config.json, so it is not a model folder: {_cure(file)}")


def check_weights(folder: Path) -> None:
    """Raise ModelError if the weights of `folder` are absent, incomplete or damaged."""
    for file in weight_files(folder):
        check_weight_file(file)


def check_tokenizer(folder: Path, *, thoroughly: bool = False) -> None:
    """Raise ModelError if `folder` has no tokenizer, only a git-lfs pointer to one, or one that was cut off.

    A vocabulary is megabytes of JSON, so it is parsed only `thoroughly`: to say why loading it failed.
    """
    present = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    if not present:
        raise ModelError(
            f"{folder} has no tokenizer (none of {', '.join(_TOKENIZERS[:4])}, …): copy the tokenizer's files of the "
            f"base model into it, or {_cure(folder / _TOKENIZERS[0])}"
        )
    for file in [*present, *_optional(folder, "tokenizer_config.json", "preprocessor_config.json")]:
        _refuse_pointer(file)
        if file.suffix == ".json" and (thoroughly or file.stat().st_size < _LARGE_BYTES or not _ends_as_json(file)):
            read_json(file)


def _ends_as_json(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-_END_BYTES, os.SEEK_END)
        return stream.read().rstrip().endswith(b"}")


def weight_files(folder: Path) -> list[Path]:
    """The weight files that loading `folder` would read. Raises ModelError if there are none or some are absent."""
    for index_name, single_name in (_SAFETENSORS, _OLDER):
        if (folder / index_name).is_file():
            return _shards(folder / index_name)
        if (folder / single_name).is_file():
            return [folder / single_name]
    strays = sorted(file.name for file in folder.glob("*-of-*.safetensors"))
    if strays:
        raise ModelError(f"{folder} has {strays[0]} but no {_SAFETENSORS[0]}: {_cure(folder / _SAFETENSORS[0])}")
    raise ModelError(
        f"{folder} has no weights (model.safetensors or pytorch_model.bin): {_cure(folder / _SAFETENSORS[1])}; "
        "or set train_from_scratch: true to start from random ones"
    )


def stored_names(folder: Path) -> frozenset[str]:
    """Names of the weights in `folder`, from its index or the header of its safetensors file; none without either.

    Raises ModelError for a damaged file.
    """
    for index in (_SAFETENSORS[0], _OLDER[0]):
        if (folder / index).is_file():
            return frozenset(read_json(folder / index).get("weight_map", {}))
    single = folder / _SAFETENSORS[1]
    if not single.is_file():
        return frozenset()
    check_weight_file(single)
    with single.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return frozenset(header) - {"__metadata__"}


def check_weight_file(file: Path) -> None:
    """Raise ModelError if one weight file is empty, a git-lfs pointer, or not as long as its header says."""
    _refuse_pointer(file)
    if file.stat().st_size == 0:
        raise ModelError(f"{file} is empty: {_cure(file)}")
    if file.suffix == ".safetensors":
        _check_safetensors(file)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object in a file. Raises ModelError that names the file and the place if it is not one."""
    _refuse_pointer(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} is not valid JSON ({error}): {_cure(file)}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds a {type(content).__name__}, a JSON object was expected: {_cure(file)}")
    return content


def _shards(index: Path) -> list[Path]:
    shards = sorted({index.parent / name for name in read_json(index).get("weight_map", {}).values()})
    absent = [shard.name for shard in shards if not shard.is_file()]
    if absent:
        raise ModelError(
            f"{index} names {len(shards)} weight files, and {len(absent)} of them are not there "
            f"({', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}): {_cure(index.parent / absent[0])}"
        )
    return shards


def _refuse_pointer(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ModelError(
                f"{file} is a git-lfs pointer, not the file itself: run `git lfs pull` in {file.parent}, "
                f"or {_cure(file)}"
            )


def _check_safetensors(file: Path) -> None:
    """Compare the file's size with what its header promises (format: 8 bytes length, JSON header, tensors)."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if size < 8 or header_bytes > _HEADER_LIMIT_BYTES:
            raise ModelError(f"{file} does not start with a safetensors header, so it is damaged: {_cure(file)}")
        try:
            header = json.loads(stream.read(header_bytes))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{file} has an unreadable safetensors header, so it is damaged: {_cure(file)}") from error
    expected = 8 + header_bytes + max(ends, default=0)
    if size != expected:
        kind = "incomplete" if size < expected else "damaged"
        raise ModelError(f"{file} is {kind} ({size:,} bytes, its header says {expected:,}): {_cure(file)}")


def _cure(file: Path) -> str:
    """The command that fetches `file` again; a hub cache's folder names give the repository away."""
    match = re.search(r"models--(.+?)/snapshots/", file.as_posix())
    if match:
        return f"download it again with `hf download {match[1].replace('--', '/')} {file.name} --force-download`"
    return f"download it again with `hf download OWNER/NAME {file.name} --local-dir {file.parent} --force-download`"


def _optional(folder: Path, *names: str) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]
