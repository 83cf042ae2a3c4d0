"""Writing weights as numbered files of a bounded size, with their index.

Tensors come one at a time and at most one file's worth is in memory. The files get their final names in `finish`,
when their number is known.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

_GB = 10**9


class ShardWriter:
    """Collects tensors and writes a file whenever the next would make it larger than `shard_gb` (10^9 bytes each).

    `legacy` writes pytorch_model*.bin instead of model*.safetensors.
    """

    def __init__(self, folder: Path, *, shard_gb: float, legacy: bool = False) -> None:
        self._folder = folder
        self._limit_bytes = int(shard_gb * _GB)
        self._stem, self._suffix = ("pytorch_model", ".bin") if legacy else ("model", ".safetensors")
        self._pending: dict[str, torch.Tensor] = {}
        self._pending_bytes = 0
        self._files: list[tuple[str, ...]] = []
        self._total_bytes = 0
        self._bytes_of: dict[torch.dtype, int] = {}

    @property
    def main_dtype(self) -> torch.dtype:
        """The format most of what was added is in."""
        return max(self._bytes_of, key=lambda dtype: self._bytes_of[dtype])

    def add(self, key: str, tensor: torch.Tensor) -> None:
        """Take over one tensor; a single one larger than the limit gets a file of its own."""
        if self._pending and self._pending_bytes + tensor.nbytes > self._limit_bytes:
            self._flush()
        self._pending[key] = tensor.contiguous()
        self._pending_bytes += tensor.nbytes
        self._total_bytes += tensor.nbytes
        self._bytes_of[tensor.dtype] = self._bytes_of.get(tensor.dtype, 0) + tensor.nbytes

    def finish(self) -> list[str]:
        """Write what is left, name the files, write the index where there are several; the weight files' names."""
        self._flush()
        number = len(self._files)
        if number == 1:
            self._part(0).rename(self._folder / f"{self._stem}{self._suffix}")
            return [f"{self._stem}{self._suffix}"]
        names = [f"{self._stem}-{index + 1:05d}-of-{number:05d}{self._suffix}" for index in range(number)]
        for index, name in enumerate(names):
            self._part(index).rename(self._folder / name)
        self._write_index(names)
        return names

    def _flush(self) -> None:
        if not self._pending:
            return
        part = self._part(len(self._files))
        if self._suffix == ".bin":
            # A view would take its whole storage along: each tensor is written from a storage of its own.
            torch.save({key: tensor.clone() for key, tensor in self._pending.items()}, part)
        else:
            save_file(self._pending, part, metadata={"format": "pt"})
        self._files.append(tuple(self._pending))
        self._pending, self._pending_bytes = {}, 0

    def _part(self, index: int) -> Path:
        return self._folder / f"{self._stem}-{index + 1:05d}.part"

    def _write_index(self, names: list[str]) -> None:
        weight_map = {key: name for keys, name in zip(self._files, names, strict=True) for key in keys}
        index = {"metadata": {"total_size": self._total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
        path = self._folder / f"{self._stem}{self._suffix}.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
